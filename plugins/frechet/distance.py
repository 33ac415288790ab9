"""The squared Wasserstein-2 distance of two Gaussians, stable where covariances are singular, and its derivatives."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from genpipe.ops import Moments

# Of a variance: where less than this share of some feature's is not explained by the features before it, the
# covariance may be singular, and Cholesky's factor is not to be relied on.
LEAST_PIVOT = 1e-10


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian fitted to num examples: its mean (D,), and a factor (D, r) of its covariance, factor · factorᵀ.

    variance: the covariance's trace. inverse: (r, D), whose product with the factor is the identity; None where the
    factor is lower triangular.
    """

    num: int
    mean: Tensor
    variance: float
    factor: Tensor
    inverse: Tensor | None = None

    def whiten(self, x: Tensor) -> Tensor:
        """x: (N, D), centred; gives (N, r), whose covariance is the identity where x's is this Gaussian's."""
        if self.inverse is not None:
            return x @ self.inverse.T
        return torch.linalg.solve_triangular(self.factor, x.T, upper=False).T

    def without_factor(self) -> Gaussian:
        """Where memory counts, and no more is asked."""
        return replace(self, factor=self.factor[:0], inverse=None)


def gaussian(moments: Moments, all_features: Tensor | None = None) -> Gaussian:
    """The Gaussian with the mean and the unbiased covariance of some moments, of at least two examples.

    all_features: (N, D), those that the moments are of, where they are at hand: a factor of their covariance without
    its decomposition, if they are fewer than its dimensions.
    """
    num, mean = int(moments.num), moments.mean
    covariance = moments.m2 / (num - 1)
    variance = float(covariance.trace())
    if all_features is not None and num <= len(mean):
        return Gaussian(num, mean, variance, (all_features - mean).T / math.sqrt(num - 1), torch.empty(0))
    if num > len(mean):
        factor, info = torch.linalg.cholesky_ex(covariance)
        pivots = factor.diagonal().square()
        if int(info) == 0 and bool((pivots > LEAST_PIVOT * covariance.diagonal()).all()):
            return Gaussian(num, mean, variance, factor)
    values, vectors = torch.linalg.eigh(covariance)
    # What should be 0 comes out as rounding of the largest eigenvalue; its square root would count. Rank is at most
    # N − 1.
    keep = values > values[-1].clamp(min=0) * len(values) * torch.finfo(torch.float64).eps
    keep[: max(len(values) - (num - 1), 0)] = False
    roots = values[keep].sqrt()
    return Gaussian(num, mean, variance, vectors[:, keep] * roots, (vectors[:, keep] / roots).T)


@dataclass(frozen=True)
class FrechetDistance:
    """‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½) (Dowson & Landau, 1982, eq. 4; Heusel et al., 2017, eq. 6).

    With Σ = A Aᵀ, the eigenvalues s of (Σ₁Σ₂)^½ are the singular values of A₂ᵀA₁ = V diag(s) Uᵀ. The second Gaussian's
    factor is not kept.
    """

    first: Gaussian
    second: Gaussian
    s: Tensor
    u: Tensor

    @property
    def value(self) -> float:
        shift = float((self.first.mean - self.second.mean).square().sum())
        return max(shift + self.first.variance + self.second.variance - 2 * float(self.s.sum()), 0.0)


def frechet_distance(first: Gaussian, second: Gaussian, cross: Tensor | None = None) -> FrechetDistance:
    """cross: A₂ᵀA₁ (r₂, r₁), where the second Gaussian comes without its factor."""
    cross = second.factor.T @ first.factor if cross is None else cross
    _, u = torch.linalg.eigh(cross.T @ cross)
    # The square roots of eigenvalues would have the error of the square root of the largest; these norms have that of
    # the largest itself.
    s = torch.linalg.vector_norm(cross @ u, dim=0)
    zero = s <= s.max() * len(s) * torch.finfo(torch.float64).eps if len(s) else s > 0
    return FrechetDistance(first, second.without_factor(), s.masked_fill(zero, 0.0), u)


@dataclass(frozen=True)
class Correction:
    """bias: expected excess of a Fréchet distance over that of the distributions themselves, to order 1/N; variance: of
    it, to first order."""

    bias: float
    variance: float


def correction(found: FrechetDistance, first: Tensor, second: Tensor) -> Correction:
    """By the infinitesimal jackknife (Jaeckel, 1972; Efron, 1982, chapter 6): what happens as one example's weight
    grows. It is the limit of a jackknife as blocks become small, without a decomposition for each.

    first, second: (n, D), examples of those that the two Gaussians were fitted to.

    With c = x − μ₁ and z = Uᵀ A₁⁻¹ c, whose covariance is the identity, weight ε on x moves the distance by
    ε (2 (μ₁ − μ₂)·c + ‖c‖² − tr Σ₁ − Σᵢ sᵢ (zᵢ² − 1)) + ε² (‖c‖² + ½ Σᵢⱼ (zᵢ zⱼ − δᵢⱼ)² sᵢ sⱼ / (sᵢ + sⱼ)), the part of ε²
    from the covariance's N − 1 left out; likewise for y, whose z is diag(s)⁻¹ (A₁ U)ᵀ (y − μ₂). The first term's variance
    over N is the distance's, the second term's mean over N its bias: (D² + 5D)/4 · (1/N + 1/M) for equal Gaussians.
    """
    s, u = found.s, found.u
    shift = found.first.mean - found.second.mean
    weight = s[:, None] * s / (s[:, None] + s).clamp(min=torch.finfo(torch.float64).tiny)
    bias, variance = 0.0, 0.0
    for of, x, sign in ((found.first, first, 1.0), (found.second, second, -1.0)):
        centred = x - of.mean
        z = of.whiten(centred) if sign > 0 else centred @ found.first.factor
        z = z @ u if sign > 0 else (z @ u).div_(s.masked_fill(s == 0, torch.inf))
        squares = z.square_()
        linear = 2 * sign * (centred @ shift) + centred.square().sum(dim=1) - squares @ s
        # Σᵢⱼ wᵢⱼ (zᵢ zⱼ − δᵢⱼ)² = Σᵢⱼ wᵢⱼ zᵢ² zⱼ² − 2 Σᵢ wᵢᵢ zᵢ² + Σᵢ wᵢᵢ
        own = weight.diagonal()
        quadratic = ((squares @ weight) * squares).sum(dim=1) - 2 * (squares @ own) + own.sum()
        bias += (of.variance + 0.5 * float(quadratic.mean())) / of.num
        variance += float(linear.var(correction=1)) / of.num
    return Correction(bias, variance)
