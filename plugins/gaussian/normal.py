"""One Gaussian of D dimensions in float64: density, samples, white codes, and its estimate from moments."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from genpipe.ops import Moments


@dataclass(frozen=True)
class Normal:
    """N(mean, scale scaleᵀ). mean: (D,); scale: (D, D), a lower Cholesky factor, or (D,), standard deviations."""

    mean: Tensor
    scale: Tensor

    def whiten(self, z: Tensor) -> Tensor:
        """e with z = mean + scale e, (B, D): standard normal where z has this distribution."""
        centred = z - self.mean
        if self.scale.ndim == 1:
            return centred / self.scale
        return torch.linalg.solve_triangular(self.scale, centred.T, upper=False).T

    def colour(self, e: Tensor) -> Tensor:
        """mean + scale e, (B, D)."""
        return self.mean + (e * self.scale if self.scale.ndim == 1 else e @ self.scale.T)

    def log_prob(self, z: Tensor) -> Tensor:
        """(B,) nats."""
        diagonal = self.scale if self.scale.ndim == 1 else self.scale.diagonal()
        constant = 0.5 * len(self.mean) * math.log(2 * math.pi) + diagonal.log().sum()
        return -0.5 * self.whiten(z).square().sum(1) - constant

    def score(self, z: Tensor) -> Tensor:
        """∇ log p(z) = −C⁻¹ (z − mean), (B, D)."""
        white = self.whiten(z)
        if self.scale.ndim == 1:
            return -white / self.scale
        return -torch.linalg.solve_triangular(self.scale.T, white.T, upper=True).T


def estimate_scale(moments: Moments, *, full: bool, reg_covar: float, shrinkage: float) -> Tensor | None:
    """The scale of `Normal` for the covariance (1 − shrinkage) S + shrinkage · diag(S) + reg_covar · I.

    S = m2 / num, the maximum-likelihood estimate, which it is where both are 0; Schäfer & Strimmer (2005), target D.
    None where it is singular.
    """
    variances = moments.m2.diagonal() / moments.num + reg_covar
    if not full:
        return variances.sqrt() if bool((variances > 0).all()) else None
    covariance = (1 - shrinkage) / moments.num * moments.m2
    covariance.diagonal().copy_(variances)
    scale, failed = torch.linalg.cholesky_ex(covariance)
    return None if bool(failed) else scale
