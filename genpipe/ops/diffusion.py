"""The forward process of diffusion in one pass over memory, with the noise made on the way."""

from __future__ import annotations

import torch
from torch import Tensor

from genpipe.ops import _extension  # noqa: F401


def q_sample(
    x0: Tensor,
    t: Tensor,
    alpha_bar: Tensor,
    *,
    noise: Tensor | None = None,
    key: Tensor | None = None,
    first_index: int = 0,
    out: Tensor | None = None,
) -> Tensor:
    """x_t = √ᾱ_t x₀ + √(1−ᾱ_t) ε, (B, *event) as x0 (Ho et al., 2020, eq. 4).

    x0: (B, *event), float32, float64 or bfloat16; t: (B,), int64, in [0, T); alpha_bar: (T,), float64 or float32, on
    x0's device; exactly one of noise, as x0, and key, whose ε is ops.normal(key, x0.shape, first_index=first_index)
    and is never stored; out: contiguous, as x0, may be x0 itself, and takes no gradient.

    Differentiable in x0 and noise. RuntimeError names what is wrong; on CUDA a t outside of the table stops the
    kernel with a device-side trap, as an index out of range does.
    """
    if out is None:
        return torch.ops.genpipe.q_sample(x0, t, alpha_bar, noise, key, first_index)
    if torch.is_grad_enabled() and (x0.requires_grad or (noise is not None and noise.requires_grad)):
        raise RuntimeError("genpipe.q_sample: out takes no gradient, but x0 or noise requires one")
    torch.ops.genpipe.q_sample_out(x0, t, alpha_bar, noise, key, first_index, out)
    return out


def q_sample_with_noise(
    x0: Tensor, t: Tensor, alpha_bar: Tensor, key: Tensor, *, first_index: int = 0
) -> tuple[Tensor, Tensor]:
    """x_t and the ε that it was made with, both as x0: what a model that predicts ε trains on.

    Arguments and errors as for q_sample. Differentiable in x0.
    """
    return torch.ops.genpipe.q_sample_with_noise(x0, t, alpha_bar, key, first_index)


@torch.library.register_fake("genpipe::q_sample")
def _(x0, t, alpha_bar, noise, key, first_index):
    return torch.empty(x0.shape, dtype=x0.dtype, device=x0.device)


@torch.library.register_fake("genpipe::q_sample_with_noise")
def _(x0, t, alpha_bar, key, first_index):
    return (
        torch.empty(x0.shape, dtype=x0.dtype, device=x0.device),
        torch.empty(x0.shape, dtype=x0.dtype, device=x0.device),
    )


@torch.library.register_fake("genpipe::q_sample_out")
def _(x0, t, alpha_bar, noise, key, first_index, out):
    return None


# The backward pass is a product by a number per sample, in torch's own ops: those are differentiable in turn.
def _level(alpha_bar: Tensor, t: Tensor, like: Tensor, noise: bool) -> Tensor:
    level = alpha_bar.double()[t]
    return (1 - level if noise else level).sqrt().to(like.dtype).reshape(-1, *[1] * (like.dim() - 1))


def _keep_table(ctx, inputs, output):
    ctx.save_for_backward(inputs[1], inputs[2])


def _q_sample_backward(ctx, grad):
    t, alpha_bar = ctx.saved_tensors
    grad_x0 = grad * _level(alpha_bar, t, grad, noise=False) if ctx.needs_input_grad[0] else None
    grad_noise = grad * _level(alpha_bar, t, grad, noise=True) if ctx.needs_input_grad[3] else None
    return grad_x0, None, None, grad_noise, None, None


def _q_sample_with_noise_backward(ctx, grad, _grad_noise):
    t, alpha_bar = ctx.saved_tensors
    return grad * _level(alpha_bar, t, grad, noise=False), None, None, None, None


torch.library.register_autograd("genpipe::q_sample", _q_sample_backward, setup_context=_keep_table)
torch.library.register_autograd(
    "genpipe::q_sample_with_noise", _q_sample_with_noise_backward, setup_context=_keep_table
)


@torch.library.register_vmap("genpipe::q_sample")
def _(info, in_dims, x0, t, alpha_bar, noise, key, first_index):
    if in_dims[2] is not None or in_dims[4] is not None:
        raise NotImplementedError("genpipe.q_sample: vmap maps over x0, t and noise, not over alpha_bar or key")
    if noise is None:  # the slices share their numbers, as a loop over them with this key would
        event = [n for d, n in enumerate(x0.shape) if d != in_dims[0]]
        noise = torch.ops.genpipe.normal(key, event, first_index, x0.dtype, x0.device)
        in_dims = (*in_dims[:3], None, *in_dims[4:])
    flat = [
        _front(tensor, dim, info.batch_size).flatten(0, 1)
        for tensor, dim in ((x0, in_dims[0]), (t, in_dims[1]), (noise, in_dims[3]))
    ]
    x_t = torch.ops.genpipe.q_sample(flat[0], flat[1], alpha_bar, flat[2], None, 0)
    return x_t.unflatten(0, (info.batch_size, -1)), 0


def _front(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
