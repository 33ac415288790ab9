"""The step that samples from an energy, in one pass over memory with the noise made on the way."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genpipe.ops import _extension  # noqa: F401


def langevin_step(
    x: Tensor,
    grad_energy: Tensor,
    key: Tensor,
    *,
    step_size: float,
    noise_scale: float | None = None,
    max_grad: float | None = None,
    clamp: tuple[float, float] | None = None,
    first_index: int = 0,
    out: Tensor | None = None,
) -> Tensor:
    """x − (η/2) ∇E(x) + σ z, as x: unadjusted Langevin dynamics towards exp(−E) (Welling & Teh, 2011, eq. 4).

    x: (B, *event), float32, float64 or bfloat16; grad_energy: ∇E(x), as x; z is
    ops.normal(key, x.shape, first_index=first_index), never stored: take a key, or indices, of its own for each step.

    step_size: η; noise_scale: σ, √η where not given; √(ηT) samples at temperature T, and short-run samplers take it
    far below √η (Nijkamp et al., 2019). max_grad: the gradient's elements are clamped to ±max_grad first, clamp: the
    result's to [low, high]. out: contiguous, as x, may be x itself, and takes no gradient.

    Differentiable in x and grad_energy. RuntimeError names what is wrong.
    """
    if noise_scale is None:
        noise_scale = math.sqrt(step_size) if step_size > 0 else 0.0
    low, high = (None, None) if clamp is None else clamp
    constants = (step_size, noise_scale, max_grad, low, high, first_index)
    if out is None:
        return torch.ops.genpipe.langevin_step(x, grad_energy, key, *constants)
    if torch.is_grad_enabled() and (x.requires_grad or grad_energy.requires_grad):
        raise RuntimeError("genpipe.langevin_step: out takes no gradient, but x or grad_energy requires one")
    torch.ops.genpipe.langevin_step_out(x, grad_energy, key, *constants, out)
    return out


@torch.library.register_fake("genpipe::langevin_step")
def _(x, grad_energy, key, step_size, noise_scale, max_grad, low, high, first_index):
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


@torch.library.register_fake("genpipe::langevin_step_out")
def _(x, grad_energy, key, step_size, noise_scale, max_grad, low, high, first_index, out):
    return None


def _context(ctx, inputs, output):
    _, grad_energy, _, ctx.step_size, _, ctx.max_grad, low, high, _ = inputs
    ctx.limits = (-math.inf if low is None else low, math.inf if high is None else high)
    ctx.save_for_backward(
        None if low is None and high is None else output, None if ctx.max_grad is None else grad_energy
    )


# In torch's own ops, which are differentiable in turn. What a clamp holds has no slope.
def _backward(ctx, grad):
    output, grad_energy = ctx.saved_tensors
    if output is not None:
        low, high = ctx.limits
        grad = torch.where((output > low) & (output < high), grad, 0)
    to_energy = None
    if ctx.needs_input_grad[1]:
        to_energy = grad * (-0.5 * ctx.step_size)
        if grad_energy is not None:
            to_energy = torch.where(grad_energy.abs() < ctx.max_grad, to_energy, 0)
    return grad, to_energy, None, None, None, None, None, None, None


torch.library.register_autograd("genpipe::langevin_step", _backward, setup_context=_context)
