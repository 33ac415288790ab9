"""The masked convolution and the gated activation."""

from __future__ import annotations

import torch

from genpipe import ops
from genpipe.ops.masked_conv import MASK_TYPES
from tests.ops.cases import Case, Draw, randn

A, B, VERTICAL_A, VERTICAL_B = range(len(MASK_TYPES))
X = randn(2, 6, 5, 4)
WEIGHT = randn(9, 6, 3, 3)

# Images of 5 by 7 with channels that are no multiple of a block, and the same with groups and dilation.
PLAIN, GROUPED = (3, 4, 18, 1, 1), (2, 6, 15, 3, 2)
SHAPES = [(A, *GROUPED), (B, *PLAIN), (B, *GROUPED), (VERTICAL_A, *PLAIN), (VERTICAL_B, *PLAIN)]


def about(mask: int, groups: int) -> str:
    return f"{MASK_TYPES[mask]}, {groups} groups" if groups > 1 else MASK_TYPES[mask]


def forward(mask: int, batch: int, channels: int, out: int, groups: int, dilation: int):
    def make(draw: Draw):
        images, weight, bias = draw.leaf(batch, channels, 5, 7), draw.leaf(out, channels, 3, 5), draw.leaf(out)
        return images, weight, bias, mask, groups, dilation

    return Case("masked_conv2d", make, about(mask, groups), sized=False, exact_on_cuda=False)


CASES = [
    *(forward(*shape) for shape in SHAPES),
    Case(
        "masked_conv2d_input_backward",
        lambda draw: (draw.normal(2, 6, 5, 4), draw.normal(6, 9, 3, 3), B, 3, 1),
        sized=False,
        exact_on_cuda=False,
    ),
    Case(
        "masked_conv2d_weight_backward",
        lambda draw: (draw.normal(2, 6, 5, 4), draw.normal(2, 9, 5, 4), 3, 3, A, 3, 1),
        sized=False,
        exact_on_cuda=False,
    ),
    Case(
        "gated_activation",
        lambda draw: (draw.leaf(draw.rows, 4, draw.columns), draw.leaf(draw.rows, 4, draw.columns)),
    ),
    Case("gated_activation", lambda draw: (draw.leaf(draw.rows, 4, draw.columns), None), "without addend"),
    Case(
        "gated_activation_backward",
        lambda draw: (
            draw.normal(draw.rows, 2, draw.columns),
            draw.normal(draw.rows, 4, draw.columns),
            draw.normal(draw.rows, 4, draw.columns),
        ),
    ),
]


def conv(x: torch.Tensor = X, weight: torch.Tensor = WEIGHT, bias: torch.Tensor | None = None, **options):
    return ops.masked_conv2d(x, weight, bias, **{"mask_type": "B", **options})


MISTAKES = {
    "masked_conv2d: mask_type must be one of 'A', 'B', 'vertical_A', 'vertical_B', got 'C'": lambda: conv(
        mask_type="C"
    ),
    "masked_conv2d: x must have shape (B, C, H, W), got (6, 5, 4)": lambda: conv(X[0]),
    "masked_conv2d: x must have channels and pixels, got (2, 6, 0, 4)": lambda: conv(X[:, :, :0]),
    "masked_conv2d: x must be float32, float64 or bfloat16, got float16": lambda: conv(X.half()),
    "masked_conv2d: weight must have the dtype of x (float32), got float64": lambda: conv(weight=WEIGHT.double()),
    "masked_conv2d: weight must have shape (C_out, C_in, kh, kw), got (9, 6, 3)": lambda: conv(weight=WEIGHT[..., 0]),
    "masked_conv2d: weight must have 6 input channels, as x has, got (9, 5, 3, 3)": lambda: conv(weight=WEIGHT[:, :5]),
    "masked_conv2d: weight must have an odd kernel, got 3 by 2": lambda: conv(weight=WEIGHT[..., :2]),
    "masked_conv2d: bias must have shape (9,), got (6,)": lambda: conv(bias=randn(6)),
    "masked_conv2d: channel_groups must divide the channels, 6 in and 9 out, got 2": lambda: conv(channel_groups=2),
    "masked_conv2d: dilation must be 1 or more, got 0": lambda: conv(dilation=0),
    "masked_conv2d_weight_backward: x must have grad's batch and pixels (2, 6, 5, 4), got (1, 6, 5, 4)": (
        lambda: torch.ops.genpipe.masked_conv2d_weight_backward(X, X[:1], 3, 3, A, 1, 1)
    ),
    "gated_activation: x must have shape (B, 2 C, *event), got (2, 5, 4)": lambda: ops.gated_activation(X[:, 0]),
    "gated_activation: addend must have the shape of x (2, 6, 5, 4), got (2, 3, 5, 4)": lambda: ops.gated_activation(
        X, X[:, :3]
    ),
    "gated_activation_backward: grad must have the shape of the output, half of x's channels (2, 6, 5, 4), got (6,": (
        lambda: torch.ops.genpipe.gated_activation_backward(X[0], X, None)
    ),
}
