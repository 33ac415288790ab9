"""The likelihood of images under mixtures of discretised logistics."""

from __future__ import annotations

import torch
from torch import Tensor

from genpipe.ops import _extension  # noqa: F401
from genpipe.ops._derivative import assumed_gradient, eager_route, forbid_second_derivative, takes_eager_route
from genpipe.ops._rows import flatten_for_vmap, like_rows


def discretized_logistic_mixture_nll(params: Tensor, x: Tensor, *, levels: int = 256) -> Tensor:
    """−log p(x) under a mixture of K discretised logistics per pixel, (B,), in nats (Salimans et al., 2017, eq. 1–3).

    params: (B, M·K, *event), float32, float64 or bfloat16, maps of K components each: logits, then C means and C
    log-scales (held above −7), then the C(C−1)/2 coefficients before their tanh (green from red, blue from red, blue
    from green), by which a channel's means shift with the channels before it. M is 3 for C = 1 and 10 for C = 3; K is
    at most 512. (The paper's own code has the maps of each channel side by side.)
    x: (B, C, *event), uint8 or int64 levels in [0, levels), or values in params' dtype, each
    taken for the nearest 2·level/(levels − 1) − 1.

    A bin reaches 1/(levels − 1) to either side, the outermost to infinity; masses are exact where the paper's code
    takes the density at the bin's middle, so that bins sum to 1. The sum over the event is in float32 (float64 for
    float64). Once differentiable in params; forward and backward pass each read the parameters once and hold nothing
    beside a gradient. RuntimeError names what is wrong.
    """
    if x.requires_grad:
        raise RuntimeError("genpipe.discretized_logistic_mixture_nll: x must not require a gradient; it is data")
    if takes_eager_route(params):
        return _eager(params, x, levels)
    return torch.ops.genpipe.discretized_logistic_mixture_nll(params, x, levels)


@torch.library.register_fake("genpipe::discretized_logistic_mixture_nll")
def _(params, x, levels):
    return like_rows(params)


@torch.library.register_fake("genpipe::discretized_logistic_mixture_nll_with_slope")
def _(params, x, levels, scale):
    nll = like_rows(params)
    return nll, torch.empty(params.shape, dtype=nll.dtype, device=params.device)


@torch.library.register_fake("genpipe::discretized_logistic_mixture_nll_backward")
def _(grad, params, x, levels):
    return torch.empty(params.shape, dtype=params.dtype, device=params.device)


def _context(ctx, inputs, output):
    params, x, ctx.levels = inputs
    ctx.save_for_backward(params, x)


def _backward(ctx, grad):
    params, x = ctx.saved_tensors
    return torch.ops.genpipe.discretized_logistic_mixture_nll_backward(grad, params, x, ctx.levels), None, None


def _forward_with_slope(ctx, params, x, levels):
    ctx.save_for_backward(params, x)
    ctx.levels, ctx.slope = levels, None
    if params.dtype == torch.bfloat16:
        return torch.ops.genpipe.discretized_logistic_mixture_nll(params, x, levels)
    ctx.assumed = assumed_gradient(params)
    nll, ctx.slope = torch.ops.genpipe.discretized_logistic_mixture_nll_with_slope(params, x, levels, ctx.assumed)
    return nll


def _backward_of_slope(ctx, grad):
    slope, ctx.slope = ctx.slope, None
    if slope is None:
        return _backward(ctx, grad)
    torch.ops.genpipe.scale_rows_(slope, grad, ctx.assumed)
    return slope, None, None


_eager = eager_route("discretized_logistic_mixture_nll", _forward_with_slope, _backward_of_slope)
torch.library.register_autograd("genpipe::discretized_logistic_mixture_nll", _backward, setup_context=_context)
forbid_second_derivative("discretized_logistic_mixture_nll_backward")


@torch.library.register_vmap("genpipe::discretized_logistic_mixture_nll")
def _(info, in_dims, params, x, levels):
    flat = flatten_for_vmap(info, in_dims[:2], params, x)
    nll = torch.ops.genpipe.discretized_logistic_mixture_nll(*flat, levels)
    return nll.unflatten(0, (info.batch_size, -1)), 0


# Exponentials and long sums: under autocast this runs in float32.
for _device in ("cpu", "cuda"):
    torch.library.register_autocast("genpipe::discretized_logistic_mixture_nll", _device, torch.float32)
