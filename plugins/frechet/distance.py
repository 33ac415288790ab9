"""The squared Wasserstein-2 distance of two Gaussians, stable where covariances are singular."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from genpipe.evaluation import State


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian by its mean (D,) and a factor (D, r) of its covariance, factor · factorᵀ, r its rank."""

    mean: Tensor
    factor: Tensor

    @property
    def variance(self) -> Tensor:
        """The covariance's trace."""
        return self.factor.square().sum()


def gaussian(state: State) -> Gaussian:
    """The Gaussian with the mean and the unbiased covariance of some moments (of at least two examples)."""
    covariance = state["m2"] / (state["num"] - 1)
    values, vectors = torch.linalg.eigh(covariance)
    # With N < D, what should be 0 comes out as rounding of the largest eigenvalue; its square root would
    # count.
    keep = values > values[-1].clamp(min=0) * len(values) * torch.finfo(torch.float64).eps
    return Gaussian(state["mean"], vectors[:, keep] * values[keep].sqrt())


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½) (Dowson & Landau, 1982, eq. 4; Heusel et al., 2017, eq. 6).

    With Σ = A Aᵀ, the eigenvalues of (Σ₁Σ₂)^½ are the singular values of A₁ᵀA₂. Taken so, their error is
    relative to the largest and not to its square root, as it is for `sqrtm` and for eigenvalues of the
    product.
    """
    cross = torch.linalg.svdvals(first.factor.T @ second.factor).sum()
    distance = (first.mean - second.mean).square().sum() + first.variance + second.variance - 2 * cross
    return max(float(distance), 0.0)
