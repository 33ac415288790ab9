"""The affine coupling of normalising flows, with its log-determinant in the same pass."""

from __future__ import annotations

import torch
from torch import Tensor

from genpipe.ops import _extension  # noqa: F401
from genpipe.ops._derivative import eager_route, forbid_second_derivative, takes_eager_route
from genpipe.ops._rows import flatten_for_vmap, like_rows


def affine_coupling(
    x: Tensor,
    shift: Tensor,
    log_scale: Tensor,
    *,
    mask: Tensor | None = None,
    limit: float | None = None,
    inverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """y = x ⊙ exp(s) + t, as x, and log|det ∂y/∂x| = Σs, (B,), in nats (Dinh et al., 2017, eqs. 7 and 9).

    x, shift (t) and log_scale: (B, *event), float32, float64 or bfloat16, of one dtype; a half of a network's output
    is read where it lies. limit: s = limit·tanh(log_scale / limit), so that |s| stays below it; without, s is
    log_scale. mask: bool, *event, True where x passes through unchanged (their b). inverse: (x − t) ⊙ exp(−s) and −Σs.

    The log-determinant sums over the event, in float32 (float64 for float64). The backward pass keeps the data's side
    (x, or what the inverse gave) and log_scale, and neither y nor t. Once differentiable in all three. RuntimeError
    names what is wrong.
    """
    if takes_eager_route(x, shift, log_scale):
        return _eager(x, shift, log_scale, mask, limit, inverse)
    return torch.ops.genpipe.affine_coupling(x, shift, log_scale, mask, limit, inverse)


@torch.library.register_fake("genpipe::affine_coupling")
def _(x, shift, log_scale, mask, limit, inverse):
    return torch.empty(x.shape, dtype=x.dtype, device=x.device), like_rows(x)


@torch.library.register_fake("genpipe::affine_coupling_backward")
def _(grad_y, grad_log_det, x, log_scale, mask, limit, inverse):
    return (
        torch.empty(x.shape, dtype=x.dtype, device=x.device),
        torch.empty(x.shape, dtype=x.dtype, device=x.device),
    )


def _context(ctx, inputs, output):
    x, _, log_scale, mask, ctx.limit, ctx.inverse = inputs
    ctx.save_for_backward(output[0] if ctx.inverse else x, log_scale, mask)


def _backward(ctx, grad_y, grad_log_det):
    x, log_scale, mask = ctx.saved_tensors
    grad_x, grad_log_scale = torch.ops.genpipe.affine_coupling_backward(
        grad_y, grad_log_det, x, log_scale, mask, ctx.limit, ctx.inverse
    )
    grad_shift = None
    if ctx.needs_input_grad[1]:
        grad_shift = -grad_x if ctx.inverse else grad_y
        if mask is not None:
            grad_shift = grad_shift.masked_fill(mask, 0)
    return grad_x, grad_shift, grad_log_scale, None, None, None


def _forward(ctx, *inputs):
    output = torch.ops.genpipe.affine_coupling(*inputs)
    _context(ctx, inputs, output)
    return output


_eager = eager_route("affine_coupling", _forward, _backward)
torch.library.register_autograd("genpipe::affine_coupling", _backward, setup_context=_context)
forbid_second_derivative("affine_coupling_backward")


@torch.library.register_vmap("genpipe::affine_coupling")
def _(info, in_dims, x, shift, log_scale, mask, limit, inverse):
    if in_dims[3] is not None:
        raise NotImplementedError("genpipe.affine_coupling: vmap maps over x, shift and log_scale, not over mask")
    flat = flatten_for_vmap(info, in_dims[:3], x, shift, log_scale)
    y, log_det = torch.ops.genpipe.affine_coupling(*flat, mask, limit, inverse)
    return (y.unflatten(0, (info.batch_size, -1)), log_det.unflatten(0, (info.batch_size, -1))), (0, 0)


# Exponentials and long sums: under autocast this runs in float32.
for _device in ("cpu", "cuda"):
    torch.library.register_autocast("genpipe::affine_coupling", _device, torch.float32)
