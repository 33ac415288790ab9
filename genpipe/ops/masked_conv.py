"""The masked convolution of autoregressive networks: PixelCNN's two masks, and those of its two stacks."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from genpipe.ops import _extension  # noqa: F401
from genpipe.ops._derivative import eager_route, forbid_second_derivative, takes_eager_route

MaskType = Literal["A", "B", "vertical_A", "vertical_B"]
MASK_TYPES: tuple[MaskType, ...] = get_args(MaskType)


def masked_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    mask_type: MaskType,
    channel_groups: int = 1,
    dilation: int = 1,
) -> Tensor:
    """conv2d(x, weight · mask, bias) with 'same' zero padding, (B, C_out, H, W), in which no dead tap is multiplied.

    x: (B, C_in, H, W), float32, float64 or bfloat16 (which computes in float32); weight: (C_out, C_in, kh, kw), odd
    kernels, as large as if there were no mask: what it holds at dead taps is never read, and its gradient there is
    exactly 0. With taps in raster order, mask_type keeps

    - "A": those before the centre, and "B": the centre too (van den Oord et al., 2016a, section 3.4). A kernel of one
      row is the horizontal stack of the gated PixelCNN.
    - "vertical_A": the rows above, and "vertical_B": the current row too, whole; its vertical stack (van den Oord et
      al., 2016b). After "vertical_B" shift the rows down by one before the horizontal stack sees them.

    channel_groups: into how many consecutive groups the input and output channels are cut, 3 for red, green and blue.
    At the centre output group i sees input group j where j < i (A) or j <= i (B). Once differentiable in x, weight and
    bias. RuntimeError names what is wrong.
    """
    if mask_type not in MASK_TYPES:
        expected = ", ".join(map(repr, MASK_TYPES))
        raise RuntimeError(f"genpipe.masked_conv2d: mask_type must be one of {expected}, got {mask_type!r}")
    code = MASK_TYPES.index(mask_type)
    if takes_eager_route(x, weight, *(() if bias is None else (bias,))):
        return _eager(x, weight, bias, code, channel_groups, dilation)
    return torch.ops.genpipe.masked_conv2d(x, weight, bias, code, channel_groups, dilation)


@torch.library.register_fake("genpipe::masked_conv2d")
def _(x, weight, bias, mask_type, channel_groups, dilation):
    return x.new_empty((x.shape[0], weight.shape[0], *x.shape[2:]))


@torch.library.register_fake("genpipe::masked_conv2d_input_backward")
def _(grad, weight, mask_type, channel_groups, dilation):
    return grad.new_empty((grad.shape[0], weight.shape[1], *grad.shape[2:]))


@torch.library.register_fake("genpipe::masked_conv2d_weight_backward")
def _(grad, x, kernel_height, kernel_width, mask_type, channel_groups, dilation):
    weight = grad.new_empty((grad.shape[1], x.shape[1], kernel_height, kernel_width))
    return weight, grad.new_empty(grad.shape[1])


def _context(ctx, inputs, output):
    x, weight, _, *ctx.mask = inputs
    ctx.save_for_backward(x, weight)


def _forward(ctx, x, weight, bias, *mask):
    ctx.mask = mask
    ctx.save_for_backward(x, weight)
    return torch.ops.genpipe.masked_conv2d(x, weight, bias, *mask)


def _backward(ctx, grad):
    x, weight = ctx.saved_tensors
    grad_x = grad_weight = grad_bias = None
    if ctx.needs_input_grad[0]:
        grad_x = torch.ops.genpipe.masked_conv2d_input_backward(grad, weight, *ctx.mask)
    if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
        grad_weight, grad_bias = torch.ops.genpipe.masked_conv2d_weight_backward(grad, x, *weight.shape[2:], *ctx.mask)
    return (
        grad_x,
        grad_weight if ctx.needs_input_grad[1] else None,
        grad_bias if ctx.needs_input_grad[2] else None,
        None,
        None,
        None,
    )


_eager = eager_route("masked_conv2d", _forward, _backward)
torch.library.register_autograd("genpipe::masked_conv2d", _backward, setup_context=_context)
forbid_second_derivative("masked_conv2d_input_backward")
forbid_second_derivative("masked_conv2d_weight_backward")
