"""A sampler's step, and the limit of dynamic thresholding."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def denoise(x: Tensor, prediction: Tensor, coefficients: Tensor, unconditional: Tensor | None = None) -> Tensor:
    """u x + w p with p = p_u + g (p_c − p_u)."""
    u, w, *_, guidance, _ = coefficients.tolist()
    if unconditional is not None:
        prediction = unconditional + guidance * (prediction - unconditional)
    return u * x + w * prediction


def dynamic_threshold(x0: Tensor, clip: float, ratio: float = 0.995, maximum: float = math.inf) -> Tensor:
    """The quantile of each sample's |x̂₀|, between the clip and the maximum."""
    return x0.flatten(1).abs().quantile(ratio, dim=1).clamp(max=maximum).clamp(min=clip)


def sampler_step(
    x: Tensor,
    prediction: Tensor,
    coefficients: Tensor,
    unconditional: Tensor | None = None,
    history: Tensor | None = None,
    threshold: Tensor | None = None,
    noise: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """a x + b x̂₀ + c h + s z, and x̂₀."""
    _, _, x_share, x0_share, history_share, noise_share, _, clip = coefficients.tolist()
    limit = torch.as_tensor(clip, dtype=x.dtype)
    x0 = denoise(x, prediction, coefficients, unconditional)
    if threshold is not None:
        own = threshold.to(x.dtype).reshape(-1, *[1] * (x.dim() - 1))
        x0 = x0.minimum(own).maximum(-own) * (limit / own)
    else:
        x0 = x0.minimum(limit).maximum(-limit)
    result = x_share * x + x0_share * x0
    if history is not None:
        result = result + history_share * history
    if noise is not None:
        result = result + noise_share * noise
    return result, x0
