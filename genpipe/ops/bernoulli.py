"""The likelihood of binary, or [0, 1]-valued, data under independent Bernoullis."""

from __future__ import annotations

import torch
from torch import Tensor

from genpipe.ops import _extension  # noqa: F401
from genpipe.ops._derivative import assumed_gradient, eager_route, forbid_second_derivative, takes_eager_route
from genpipe.ops._rows import flatten_for_vmap, like_rows


def bernoulli_nll(logits: Tensor, x: Tensor) -> Tensor:
    """−log p(x) = Σ(softplus(logit) − x·logit), (B,), in nats.

    logits: (B, *event), float32, float64 or bfloat16; x: the same, in [0, 1]. The sum is over the event, in float32
    (float64 for float64). Once differentiable in both. RuntimeError names what is wrong.
    """
    return _eager(logits, x) if takes_eager_route(logits, x) else torch.ops.genpipe.bernoulli_nll(logits, x)


@torch.library.register_fake("genpipe::bernoulli_nll")
def _(logits, x):
    return like_rows(logits)


@torch.library.register_fake("genpipe::bernoulli_nll_with_slope")
def _(logits, x, scale=1.0):
    nll = like_rows(logits)
    return nll, torch.empty(logits.shape, dtype=nll.dtype, device=logits.device)


@torch.library.register_fake("genpipe::scale_rows_")
def _(x, factors, assumed=1.0):
    return None


@torch.library.register_fake("genpipe::bernoulli_nll_backward")
def _(grad, logits, x):
    return torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)


def _context(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad):
    logits, x = ctx.saved_tensors
    grad_logits = grad_x = None
    if ctx.needs_input_grad[0]:
        grad_logits = torch.ops.genpipe.bernoulli_nll_backward(grad, logits, x)
    if ctx.needs_input_grad[1]:
        grad_x = -grad.reshape(-1, *[1] * (logits.dim() - 1)).to(logits.dtype) * logits
    return grad_logits, grad_x


def _forward_with_slope(ctx, logits, x):
    ctx.save_for_backward(logits, x)
    ctx.slope = None
    if not ctx.needs_input_grad[0] or logits.dtype == torch.bfloat16:
        return torch.ops.genpipe.bernoulli_nll(logits, x)
    ctx.assumed = assumed_gradient(logits)
    nll, ctx.slope = torch.ops.genpipe.bernoulli_nll_with_slope(logits, x, ctx.assumed)
    return nll


def _backward_of_slope(ctx, grad):
    # The slope shares its exponential with the value, and becomes the gradient in place. A retained graph's second
    # backward pass finds it spent and computes the same bits again.
    slope, ctx.slope = ctx.slope, None
    if slope is None or ctx.needs_input_grad[1]:
        return _backward(ctx, grad)
    torch.ops.genpipe.scale_rows_(slope, grad, ctx.assumed)
    return slope, None


_eager = eager_route("bernoulli_nll", _forward_with_slope, _backward_of_slope)
torch.library.register_autograd("genpipe::bernoulli_nll", _backward, setup_context=_context)
forbid_second_derivative("bernoulli_nll_backward")


@torch.library.register_vmap("genpipe::bernoulli_nll")
def _(info, in_dims, logits, x):
    flat = flatten_for_vmap(info, in_dims, logits, x)
    return torch.ops.genpipe.bernoulli_nll(*flat).unflatten(0, (info.batch_size, -1)), 0


# Exponentials and long sums: under autocast this runs in float32.
for _device in ("cpu", "cuda"):
    torch.library.register_autocast("genpipe::bernoulli_nll", _device, torch.float32)
