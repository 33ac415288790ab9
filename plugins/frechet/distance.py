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

# Of an integral over ½ log t: what is beyond, and what steps leave out, is below 1e-12 of the largest s.
REACH, STEP = 30.0, 0.3


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
    """bias: a Fréchet distance's expected excess over that of the distributions themselves, to order 1/N; variance: its
    own."""

    bias: float
    variance: float


def correction(found: FrechetDistance, first: Tensor, second: Tensor) -> Correction:
    """By the jackknife that leaves out one example after the other, of either side (Quenouille, 1956; Efron & Stein,
    1981), each exactly and at the price of a few products of its coordinates.

    first, second: (n, D), some of the N examples that each Gaussian was fitted to, or all.

    Leaving out x, with c = x − μ₁, makes Σ₁ α (Σ₁ − β c cᵀ), α = (N − 1)/(N − 2) and β = N/(N − 1)². With z = Uᵀ A₁⁻¹ c,
    whose covariance is the identity, the s become the roots of the eigenvalues of α (diag(s²) − β (s z)(s z)ᵀ). For the
    second Gaussian z is diag(s)⁻¹ (A₁ U)ᵀ (y − μ₂). Of the mean of all replicates the part linear in an example's weight
    is 0, so with some of them it is left out, and the rest hardly varies between examples.
    """
    s, u = found.s, found.u
    shift, root = found.first.mean - found.second.mean, float(s.sum())
    bias, variance = 0.0, 0.0
    for of, x, sign in ((found.first, first, 1.0), (found.second, second, -1.0)):
        num, centred = of.num, x - of.mean
        z = of.whiten(centred) if sign > 0 else centred @ found.first.factor
        z = z @ u if sign > 0 else (z @ u).div_(s.masked_fill(s == 0, torch.inf))
        squares = z.square_()
        along, length = 2 * sign * (centred @ shift), centred.square().sum(dim=1)
        alpha, beta, share = (num - 1) / (num - 2), num / (num - 1) ** 2, (num - 1) / num
        roots = math.sqrt(alpha) * (root + _root_change(s, squares, beta)) - root
        moved = length / (num - 1) ** 2 - along / (num - 1)
        moved += (alpha - 1) * of.variance - alpha * beta * length - 2 * roots
        linear = along + length - share * of.variance - (squares @ s - share * root)
        bias += float((moved * (num - 1) + linear).mean())
        variance += (num - 1) ** 2 / num * float(moved.var(correction=1))
    return Correction(bias, variance)


def _root_change(s: Tensor, squares: Tensor, beta: float) -> Tensor:
    """tr (diag(s²) − β (s z)(s z)ᵀ)^½ − Σ s for each row of squares = z², (n, r); β ‖z‖² is below 1.

    As √a is 1/2π ∫ log(1 + a/t) t^−½ dt over t > 0, and determinants of a rank-one change are known, the difference is
    1/2π ∫ log(1 − β Σⱼ sⱼ² zⱼ² / (sⱼ² + t)) t^−½ dt. In u = ½ log t the integrand is analytic within ±π/2 of the real line,
    so a sum over steps h errs by e^(−π²/h) of it.
    """
    largest = float(s.max())
    if largest == 0:
        return torch.zeros_like(squares[:, 0])
    u = math.log(largest) + torch.arange(-REACH, REACH, STEP, dtype=torch.float64)
    variances = s.square()[:, None]
    inside = squares @ (variances / (variances + (2 * u).exp()))
    return torch.log1p((-beta * inside).clamp(min=-1 + 1e-12)) @ (u.exp() * (STEP / math.pi))
