"""Diffusion's forward process."""

from __future__ import annotations

from torch import Tensor


def q_sample(x0: Tensor, t: Tensor, alpha_bar: Tensor, noise: Tensor) -> Tensor:
    """√ᾱ_t x₀ + √(1−ᾱ_t) ε."""
    level = alpha_bar.double()[t].reshape(len(x0), *[1] * (x0.dim() - 1))
    return level.sqrt().to(x0.dtype) * x0 + (1 - level).sqrt().to(x0.dtype) * noise
