"""The likelihood of discrete data under independent categoricals over its levels."""

from __future__ import annotations

import torch
from torch import Tensor

from genpipe.ops import _extension  # noqa: F401
from genpipe.ops._derivative import assumed_gradient, eager_route, forbid_second_derivative, takes_eager_route
from genpipe.ops._rows import flatten_for_vmap, like_rows


def categorical_nll(logits: Tensor, x: Tensor) -> Tensor:
    """−log p(x) = Σ(log Σ_k e^(logit_k) − logit_x), (B,), in nats.

    logits: (B, K, *event) for x (B, *event), as torch's cross entropy has them, or (B, C·K, *event) for x
    (B, C, *event), the K levels of a channel side by side, as a PixelCNN gives them; float32, float64 or bfloat16.
    x: uint8 or int64 levels in [0, K). The sum is over the event, in float32 (float64 for float64). Once
    differentiable in logits. RuntimeError names what is wrong.
    """
    return _eager(logits, x) if takes_eager_route(logits) else torch.ops.genpipe.categorical_nll(logits, x)


@torch.library.register_fake("genpipe::categorical_nll")
def _(logits, x):
    return like_rows(logits)


@torch.library.register_fake("genpipe::categorical_nll_with_slope")
def _(logits, x, scale):
    nll = like_rows(logits)
    return nll, torch.empty(logits.shape, dtype=nll.dtype, device=logits.device)


@torch.library.register_fake("genpipe::categorical_nll_backward")
def _(grad, logits, x):
    return torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)


def _context(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad):
    return torch.ops.genpipe.categorical_nll_backward(grad, *ctx.saved_tensors), None


def _forward_with_slope(ctx, logits, x):
    ctx.save_for_backward(logits, x)
    ctx.slope = None
    if logits.dtype == torch.bfloat16:
        return torch.ops.genpipe.categorical_nll(logits, x)
    ctx.assumed = assumed_gradient(logits)
    nll, ctx.slope = torch.ops.genpipe.categorical_nll_with_slope(logits, x, ctx.assumed)
    return nll


def _backward_of_slope(ctx, grad):
    slope, ctx.slope = ctx.slope, None
    if slope is None:
        return _backward(ctx, grad)
    torch.ops.genpipe.scale_rows_(slope, grad, ctx.assumed)
    return slope, None


_eager = eager_route("categorical_nll", _forward_with_slope, _backward_of_slope)
torch.library.register_autograd("genpipe::categorical_nll", _backward, setup_context=_context)
forbid_second_derivative("categorical_nll_backward")


@torch.library.register_vmap("genpipe::categorical_nll")
def _(info, in_dims, logits, x):
    flat = flatten_for_vmap(info, in_dims, logits, x)
    return torch.ops.genpipe.categorical_nll(*flat).unflatten(0, (info.batch_size, -1)), 0


# Exponentials and long sums: under autocast this runs in float32.
for _device in ("cpu", "cuda"):
    torch.library.register_autocast("genpipe::categorical_nll", _device, torch.float32)
