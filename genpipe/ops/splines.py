"""The monotone rational-quadratic spline of neural spline flows."""

from __future__ import annotations

import torch
from torch import Tensor

from genpipe.ops import _extension  # noqa: F401
from genpipe.ops._derivative import eager_route, forbid_second_derivative, takes_eager_route
from genpipe.ops._rows import flatten_for_vmap, like_rows


def rational_quadratic_spline(
    x: Tensor,
    params: Tensor,
    *,
    bound: float,
    inverse: bool = False,
    min_width: float = 1e-3,
    min_height: float = 1e-3,
    min_derivative: float = 1e-3,
) -> tuple[Tensor, Tensor]:
    """y = f(x) elementwise, as x, and log|det ∂y/∂x|, (B,), in nats, of the spline of Durkan et al. (2019).

    f increases from −bound to bound over K bins on [−bound, bound], is the identity outside, and has slope 1 at both
    ends, so that it is once continuously differentiable everywhere (their section 3.1, appendix A). inverse: f⁻¹ of
    x, and its log-determinant.

    x: (B, *event), float32, float64 or bfloat16; params: (B, *event, 3K−1), the same, K at most 64: an element's K
    widths and K heights, each through a softmax, and the K−1 slopes between bins, through a softplus, as a network
    gives them. Three tensors of them go in as torch.cat((widths, heights, derivatives), -1). bound: in x's units;
    min_width and min_height: a bin's least share of the interval, below 1/K; min_derivative: the least slope.

    The log-determinant sums over the event, in float32 (float64 for float64). Once differentiable in x and params.
    RuntimeError names what is wrong.
    """
    if takes_eager_route(x, params):
        return _eager(x, params, bound, inverse, min_width, min_height, min_derivative)
    return torch.ops.genpipe.rational_quadratic_spline(x, params, bound, inverse, min_width, min_height, min_derivative)


@torch.library.register_fake("genpipe::rational_quadratic_spline")
def _(x, params, bound, inverse, min_width, min_height, min_derivative):
    return torch.empty(x.shape, dtype=x.dtype, device=x.device), like_rows(x)


@torch.library.register_fake("genpipe::rational_quadratic_spline_backward")
def _(grad_y, grad_log_det, x, params, bound, inverse, min_width, min_height, min_derivative):
    return (
        torch.empty(x.shape, dtype=x.dtype, device=x.device),
        torch.empty(params.shape, dtype=params.dtype, device=params.device),
    )


# The derivative of the inverse is that of the spline at what the inverse gave, so it is this that is kept.
def _context(ctx, inputs, output):
    x, params, *ctx.constants = inputs
    ctx.save_for_backward(output[0] if ctx.constants[1] else x, params)


def _backward(ctx, grad_y, grad_log_det):
    grads = torch.ops.genpipe.rational_quadratic_spline_backward(
        grad_y, grad_log_det, *ctx.saved_tensors, *ctx.constants
    )
    return *grads, None, None, None, None, None


def _forward(ctx, *inputs):
    output = torch.ops.genpipe.rational_quadratic_spline(*inputs)
    _context(ctx, inputs, output)
    return output


_eager = eager_route("rational_quadratic_spline", _forward, _backward)
torch.library.register_autograd("genpipe::rational_quadratic_spline", _backward, setup_context=_context)
forbid_second_derivative("rational_quadratic_spline_backward")


@torch.library.register_vmap("genpipe::rational_quadratic_spline")
def _(info, in_dims, x, params, *constants):
    flat = flatten_for_vmap(info, in_dims[:2], x, params)
    y, log_det = torch.ops.genpipe.rational_quadratic_spline(*flat, *constants)
    return (y.unflatten(0, (info.batch_size, -1)), log_det.unflatten(0, (info.batch_size, -1))), (0, 0)


# Exponentials, quotients and long sums: under autocast this runs in float32.
for _device in ("cpu", "cuda"):
    torch.library.register_autocast("genpipe::rational_quadratic_spline", _device, torch.float32)
