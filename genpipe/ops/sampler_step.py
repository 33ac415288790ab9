"""A step of any diffusion sampler in one pass over memory, and the limit of dynamic thresholding."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genpipe.ops import _extension  # noqa: F401
from genpipe.ops._rows import like_rows


def sampler_step(
    x: Tensor,
    prediction: Tensor,
    coefficients: Tensor,
    *,
    unconditional: Tensor | None = None,
    history: Tensor | None = None,
    threshold: Tensor | None = None,
    noise: Tensor | None = None,
    key: Tensor | None = None,
    first_index: int = 0,
    out: Tensor | None = None,
    x0_out: Tensor | None = None,
) -> Tensor:
    """x_next = a x + b x̂₀ + c h + s z with x̂₀ = clip(u x + w p), (B, *event) as x; p = p_u + g (p_c − p_u).

    x, prediction (p_c): (B, *event), float32, float64 or bfloat16; unconditional (p_u): where there is guidance
    (Ho & Salimans, 2022); coefficients: float64 (8,), u, w, a, b, c, s, g and the limit of the clip, from
    genpipe.ops.samplers; on the CPU, or on x's device, from where a captured graph reads them when it runs. history
    (h): as x, what the solver's table says. z is noise, as x, or ops.normal(key, x.shape, first_index=first_index),
    made only where s is not 0. threshold: (B,) in float32 (float64 for float64), each sample's limit: beyond it x̂₀ is
    clipped, then scaled back to the table's limit (dynamic_threshold).

    No ε̂ enters: where a solver's paper speaks of it, this is the one that agrees with the clipped x̂₀ (diffusers'
    use_clipped_model_output=True).

    out: contiguous, as x, may be x itself; x0_out: takes x̂₀, may be history itself. Takes no gradient. RuntimeError
    names what is wrong.
    """
    given = (x, prediction, unconditional, history, threshold, noise)
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in given):
        raise RuntimeError("genpipe.sampler_step: takes no gradient, but one of its tensors requires it; use no_grad")
    if out is None and x0_out is None:
        return _step(x, prediction, coefficients, unconditional, history, threshold, noise, key, first_index)
    if out is None:
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
    _step_out(x, prediction, coefficients, unconditional, history, threshold, noise, key, first_index, out, x0_out)
    return out


def dynamic_threshold(
    x: Tensor,
    prediction: Tensor,
    coefficients: Tensor,
    *,
    unconditional: Tensor | None = None,
    ratio: float = 0.995,
    maximum: float = math.inf,
) -> Tensor:
    """Each sample's limit of x̂₀, (B,): the quantile `ratio` of its |x̂₀|, at least the table's limit, at most maximum.

    Saharia et al. (2022), sec. 2.3; the quantile is exact, and interpolated as torch.quantile does. It is for
    sampler_step's `threshold`, and takes the same x, prediction, coefficients and unconditional.

    A quantile is known only when the whole sample was seen, so this is a pass of its own, and reads x and the
    predictions several times over (4 of float32 on the CPU, 9 on CUDA): about as much as three steps without noise
    where a sample fits the cache. Nothing is stored. Takes no gradient.
    """
    with torch.no_grad():
        return torch.ops.genpipe.dynamic_threshold(x, prediction, coefficients, unconditional, ratio, maximum)


_step = torch.ops.genpipe.sampler_step.default
_step_out = torch.ops.genpipe.sampler_step_out.default


@torch.library.register_fake("genpipe::sampler_step")
def _(x, prediction, coefficients, unconditional, history, threshold, noise, key, first_index):
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


@torch.library.register_fake("genpipe::sampler_step_out")
def _(x, prediction, coefficients, unconditional, history, threshold, noise, key, first_index, out, x0_out):
    return None


@torch.library.register_fake("genpipe::dynamic_threshold")
def _(x, prediction, coefficients, unconditional, ratio, maximum):
    return like_rows(x)
