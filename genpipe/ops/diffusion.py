"""The forward process of diffusion in one pass over memory, with the noise made on the way."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genpipe.ops import _extension  # noqa: F401
from genpipe.ops._derivative import takes_short_route


def q_sample(
    x0: Tensor,
    t: Tensor | None,
    schedule: Tensor,
    *,
    noise: Tensor | None = None,
    key: Tensor | None = None,
    first_index: int = 0,
    out: Tensor | None = None,
) -> Tensor:
    """x_t = α_t x₀ + σ_t ε, (B, *event) as x0 (Ho et al., 2020, eq. 4).

    x0: (B, *event), float32, float64 or bfloat16; t: (B,), int64, in [0, T), or None where sample b stands at level b
    of a schedule of B levels; schedule: float64 or float32, on x0's device, (T,) of ᾱ_t = α_t² = 1 − σ_t², or (T, 2)
    of α_t and σ_t (genpipe.ops.schedules); exactly one of noise, as x0, and key, whose ε is
    ops.normal(key, x0.shape, first_index=first_index) and is never stored; out: contiguous, as x0, may be x0 itself,
    and takes no gradient.

    Differentiable in x0 and noise. RuntimeError names what is wrong; on CUDA a t outside of the schedule, or a level
    that is not finite, stops the kernel with a device-side trap, as an index out of range does.
    """
    if out is None:
        if takes_short_route(x0, noise):
            with torch._C._AutoDispatchBelowAutograd():
                return _q_sample(x0, t, schedule, noise, key, first_index)
        return _q_sample(x0, t, schedule, noise, key, first_index)
    if torch.is_grad_enabled() and (x0.requires_grad or (noise is not None and noise.requires_grad)):
        raise RuntimeError("genpipe.q_sample: out takes no gradient, but x0 or noise requires one")
    _q_sample_out(x0, t, schedule, noise, key, first_index, out)
    return out


def q_sample_with_target(
    x0: Tensor,
    t: Tensor | None,
    schedule: Tensor,
    *,
    noise: Tensor | None = None,
    key: Tensor | None = None,
    first_index: int = 0,
    prediction_type: str = "epsilon",
) -> tuple[Tensor, Tensor]:
    """x_t and what a model learns to predict there, both as x0.

    prediction_type: "epsilon", ε; "sample", x₀; "v_prediction", α_t ε − σ_t x₀ (Salimans & Ho, 2022, appendix D);
    "velocity", ε − x₀, of flow matching (Lipman et al., 2023). In bfloat16 ε is rounded before it is used, so that
    x_t and the target belong together. Other arguments and errors as for q_sample; differentiable in x0 and noise.

    A training step that wants the loss alone does without the target: see diffusion_loss.
    """
    return _q_sample_with_target(x0, t, schedule, noise, key, first_index, prediction_type)


def q_sample_with_noise(
    x0: Tensor, t: Tensor | None, schedule: Tensor, key: Tensor, *, first_index: int = 0
) -> tuple[Tensor, Tensor]:
    """x_t and the ε that it was made with, both as x0: q_sample_with_target for "epsilon"."""
    return _q_sample_with_target(x0, t, schedule, None, key, first_index, "epsilon")


_q_sample = torch.ops.genpipe.q_sample.default
_q_sample_out = torch.ops.genpipe.q_sample_out.default
_q_sample_with_target = torch.ops.genpipe.q_sample_with_target.default


@torch.library.register_fake("genpipe::q_sample")
def _(x0, t, schedule, noise, key, first_index):
    return torch.empty(x0.shape, dtype=x0.dtype, device=x0.device)


@torch.library.register_fake("genpipe::q_sample_with_target")
def _(x0, t, schedule, noise, key, first_index, prediction_type):
    return (
        torch.empty(x0.shape, dtype=x0.dtype, device=x0.device),
        torch.empty(x0.shape, dtype=x0.dtype, device=x0.device),
    )


@torch.library.register_fake("genpipe::q_sample_out")
def _(x0, t, schedule, noise, key, first_index, out):
    return None


def level_at(schedule: Tensor, t: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor]:
    """α and σ of each sample, (B, 1, …) in like's dtype, computed in float64: 1 − ᾱ cancels."""
    level = schedule.double() if t is None else schedule.double()[t]
    pair = level.unbind(1) if schedule.dim() == 2 else (level.sqrt(), (1 - level).sqrt())
    alpha, sigma = (value.to(like.dtype).reshape(-1, *[1] * (like.dim() - 1)) for value in pair)
    return alpha, sigma


def target_parts(prediction_type: str, alpha: Any, sigma: Any) -> tuple[Any, Any]:
    """The target's share of x₀ and of ε."""
    return {"epsilon": (0, 1), "sample": (1, 0), "v_prediction": (-sigma, alpha), "velocity": (-1, 1)}[prediction_type]


# The backward pass is a product by a number per sample, in torch's own ops: those are differentiable in turn.
def _keep_level(ctx, inputs, output):
    ctx.given_t = inputs[1] is not None
    ctx.save_for_backward(inputs[2], *([inputs[1]] if ctx.given_t else []))


def _kept_level(ctx, like):
    schedule, *t = ctx.saved_tensors
    return level_at(schedule, t[0] if ctx.given_t else None, like)


def _q_sample_backward(ctx, grad):
    alpha, sigma = _kept_level(ctx, grad)
    grad_x0 = grad * alpha if ctx.needs_input_grad[0] else None
    grad_noise = grad * sigma if ctx.needs_input_grad[3] else None
    return grad_x0, None, None, grad_noise, None, None


def _keep_level_and_prediction(ctx, inputs, output):
    _keep_level(ctx, inputs, output)
    ctx.prediction_type = inputs[6]


def _q_sample_with_target_backward(ctx, grad, grad_target):
    alpha, sigma = _kept_level(ctx, grad)
    of_x0, of_noise = target_parts(ctx.prediction_type, alpha, sigma)
    grad_x0 = grad * alpha + grad_target * of_x0 if ctx.needs_input_grad[0] else None
    grad_noise = grad * sigma + grad_target * of_noise if ctx.needs_input_grad[3] else None
    return grad_x0, None, None, grad_noise, None, None, None


torch.library.register_autograd("genpipe::q_sample", _q_sample_backward, setup_context=_keep_level)
torch.library.register_autograd(
    "genpipe::q_sample_with_target", _q_sample_with_target_backward, setup_context=_keep_level_and_prediction
)


@torch.library.register_vmap("genpipe::q_sample")
def _(info, in_dims, x0, t, schedule, noise, key, first_index):
    if in_dims[2] is not None or in_dims[4] is not None:
        raise NotImplementedError("genpipe.q_sample: vmap maps over x0, t and noise, not over schedule or key")
    event = [n for d, n in enumerate(x0.shape) if d != in_dims[0]]
    if noise is None:  # the slices share their numbers, as a loop over them with this key would
        noise = torch.ops.genpipe.normal(key, event, first_index, x0.dtype, x0.device)
        in_dims = (*in_dims[:3], None, *in_dims[4:])
    if t is None:
        t = torch.arange(event[0], device=x0.device)
        in_dims = (in_dims[0], None, *in_dims[2:])
    flat = [
        _front(tensor, dim, info.batch_size).flatten(0, 1)
        for tensor, dim in ((x0, in_dims[0]), (t, in_dims[1]), (noise, in_dims[3]))
    ]
    x_t = _q_sample(flat[0], flat[1], schedule, flat[2], None, 0)
    return x_t.unflatten(0, (info.batch_size, -1)), 0


def _front(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
