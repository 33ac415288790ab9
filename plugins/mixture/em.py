"""Expectation-maximisation for mixtures of Gaussians, in float64 and in blocks of rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from genpipe.errors import DataError
from genpipe.noise import Noise

Covariance = Literal["full", "diagonal"]
BLOCK = 4096


@dataclass(frozen=True)
class Mixture:
    """A mixture of K Gaussians in D dimensions, float64.

    log_weights: (K,); means: (K, D); scales: (K, D, D) lower Cholesky factors of the covariances, or (K, D)
    standard deviations.
    """

    log_weights: Tensor
    means: Tensor
    scales: Tensor

    def log_joint(self, z: Tensor) -> Tensor:
        """log p(k) + log p(z | k): (B, K) for z (B, D) float64."""
        num_dimensions = z.shape[1]
        columns = []
        for mean, scale in zip(self.means, self.scales, strict=True):
            if scale.ndim == 2:
                white = torch.linalg.solve_triangular(scale, (z - mean).T, upper=False)
                squares, log_det = white.square().sum(0), scale.diagonal().log().sum()
            else:
                squares, log_det = ((z - mean) / scale).square().sum(1), scale.log().sum()
            columns.append(-0.5 * (squares + num_dimensions * math.log(2 * math.pi)) - log_det)
        return torch.stack(columns, dim=1) + self.log_weights

    def log_prob(self, z: Tensor) -> Tensor:
        """(B,) nats."""
        return torch.logsumexp(self.log_joint(z), dim=1)


@dataclass(frozen=True)
class Fit:
    """The end of EM: mixture, mean log-likelihood in nats per example, iterations, and whether it converged."""

    mixture: Mixture
    log_likelihood: float
    num_iterations: int
    converged: bool


def blocks(z: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(first row, rows in float64): the data may be kept in float32."""
    for start in range(0, len(z), BLOCK):
        yield start, z[start : start + BLOCK].double()


def kmeans_plus_plus(z: Tensor, num_components: int, noise: Noise) -> Tensor:
    """Indices (K,) of rows of z, each drawn with probability as its squared distance to those before."""
    u = noise.uniform("k-means++", (num_components, 1), dtype=torch.float64)[:, 0].tolist()
    chosen = [min(int(u[0] * len(z)), len(z) - 1)]
    nearest = torch.full((len(z),), math.inf, dtype=torch.float64)
    for k in range(1, num_components):
        for start, rows in blocks(z):
            distance = (rows - z[chosen[-1]].double()).square().sum(1)
            nearest[start : start + len(rows)].clamp_(max=distance)
        total = nearest.cumsum(0)
        if total[-1] == 0:
            raise DataError(
                f"there are only {k} different examples for {num_components} components: lower num_components"
            )
        chosen.append(int(torch.searchsorted(total, u[k] * total[-1], right=True).clamp(max=len(z) - 1)))
    return torch.tensor(chosen)


def initial_responsibilities(z: Tensor, num_components: int, noise: Noise) -> Tensor:
    """One-hot (N, K): each row belongs to the nearest of the k-means++ centres."""
    centres = z[kmeans_plus_plus(z, num_components, noise)].double()
    nearest = [torch.cdist(rows, centres).argmin(1) for _, rows in blocks(z)]
    return torch.nn.functional.one_hot(torch.cat(nearest), num_components).double()


def maximise(
    z: Tensor, responsibilities: Tensor, covariance: Covariance, reg_covar: float, shrinkage: float = 0.0
) -> Mixture:
    """The M step: weights, means and covariances under responsibilities (N, K).

    A full covariance is (1 − shrinkage) S + shrinkage · diag(S) + reg_covar · I for the weighted sample
    covariance S (Schäfer & Strimmer, 2005, target D): maximum likelihood where both are 0, and a penalised
    estimate otherwise, which few examples for many dimensions need.
    """
    counts = responsibilities.sum(0) + 10 * torch.finfo(torch.float64).eps
    num_components, num_dimensions = responsibilities.shape[1], z.shape[1]
    means = torch.zeros(num_components, num_dimensions, dtype=torch.float64)
    for start, rows in blocks(z):
        means += responsibilities[start : start + len(rows)].T @ rows
    means /= counts[:, None]
    full = covariance == "full"
    shape = (num_components, num_dimensions, num_dimensions) if full else (num_components, num_dimensions)
    sums = torch.zeros(shape, dtype=torch.float64)
    for start, rows in blocks(z):
        for k, r in enumerate(responsibilities[start : start + len(rows)].T):
            centred = rows - means[k]
            # Centred before squaring: E[z²] − E[z]² loses all digits where the variance is small.
            sums[k] += (r[:, None] * centred).T @ centred if full else r @ centred.square()
    sums /= counts.reshape(-1, *[1] * (sums.ndim - 1))
    if full:
        sums.diagonal(dim1=1, dim2=2).mul_(1 / (1 - shrinkage))
        sums *= 1 - shrinkage
        sums.diagonal(dim1=1, dim2=2).add_(reg_covar)
        scales, failed = torch.linalg.cholesky_ex(sums)
        if failed.any():
            raise DataError(
                f"the covariance of component {int(failed.nonzero()[0])} is singular: raise reg_covar "
                f"(now {reg_covar:g}) or shrinkage (now {shrinkage:g}), or lower num_components (now {num_components})"
            )
    else:
        scales = (sums + reg_covar).sqrt()
    return Mixture((counts / counts.sum()).log(), means, scales)


def expect(z: Tensor, mixture: Mixture) -> tuple[Tensor, float]:
    """The E step: responsibilities (N, K) and the mean log-likelihood, nats per example."""
    parts, total = [], 0.0
    for _, rows in blocks(z):
        joint = mixture.log_joint(rows)
        log_prob = torch.logsumexp(joint, dim=1, keepdim=True)
        parts.append((joint - log_prob).exp())
        total += float(log_prob.sum())
    return torch.cat(parts), total / len(z)


def fit(
    z: Tensor,
    responsibilities: Tensor,
    *,
    covariance: Covariance,
    reg_covar: float,
    shrinkage: float,
    tolerance: float,
    max_iterations: int,
    report: Callable[[int, float], None],
) -> Fit:
    """EM from responsibilities (N, K) on z (N, D) until the mean log-likelihood gains less than `tolerance`.

    `report(iteration, log_likelihood)` is called after each iteration.
    """
    mixture = maximise(z, responsibilities, covariance, reg_covar, shrinkage)
    before = -math.inf
    for iteration in range(1, max_iterations + 1):
        responsibilities, log_likelihood = expect(z, mixture)
        report(iteration, log_likelihood)
        if abs(log_likelihood - before) < tolerance:
            return Fit(mixture, log_likelihood, iteration, True)
        before = log_likelihood
        mixture = maximise(z, responsibilities, covariance, reg_covar, shrinkage)
    return Fit(mixture, expect(z, mixture)[1], max_iterations, False)
