"""A mixture of Gaussians in float64: its density, and the responsibilities of its components."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixture:
    """A mixture of K Gaussians in D dimensions, float64.

    log_weights: (K,); means: (K, D); scales: lower Cholesky factors of the covariances, (K, D, D), or (1, D, D) where
    they are tied; or standard deviations, (K, D), or (K, 1) where they are spherical.
    """

    log_weights: Tensor
    means: Tensor
    scales: Tensor

    def log_joint(self, z: Tensor) -> Tensor:
        """log p(k) + log p(z | k): (B, K) for z (B, D) float64."""
        num_components, num_dimensions = self.means.shape
        tied = self.scales.ndim == 3 and len(self.scales) == 1 < num_components
        means = self.means
        if tied:  # one matrix whitens all
            z, means = (torch.linalg.solve_triangular(self.scales[0], rows.T, upper=False).T for rows in (z, means))
        squares = torch.empty(num_components, len(z), dtype=z.dtype, device=z.device)
        for k, mean in enumerate(means):
            centred = z - mean
            if not tied and self.scales.ndim == 3:
                centred = torch.linalg.solve_triangular(self.scales[k], centred.T, upper=False).T
            elif not tied:
                centred = centred / self.scales[k]
            squares[k] = centred.square().sum(1)
        constants = self.log_weights - self._log_dets() - 0.5 * num_dimensions * math.log(2 * math.pi)
        return (constants[:, None] - 0.5 * squares).T

    def log_prob(self, z: Tensor) -> Tensor:
        """(B,) nats."""
        return torch.logsumexp(self.log_joint(z), dim=1)

    def responsibilities(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """p(k | z), (B, K), and log p(z), (B,)."""
        joint = self.log_joint(z)
        log_prob = torch.logsumexp(joint, dim=1)
        return (joint - log_prob[:, None]).exp(), log_prob

    def score(self, z: Tensor) -> Tensor:
        """∇ log p(z) = Σ_k p(k | z) C_k⁻¹ (m_k − z), (B, D)."""
        shares, _ = self.responsibilities(z)
        answer = torch.zeros_like(z)
        for k, mean in enumerate(self.means):
            offset, scale = mean - z, self.scales[min(k, len(self.scales) - 1)]
            pull = torch.cholesky_solve(offset.T, scale).T if scale.ndim == 2 else offset / scale.square()
            answer += shares[:, k, None] * pull
        return answer

    def _log_dets(self) -> Tensor:
        """log det of the scales: (K,), or (1,)."""
        if self.scales.ndim == 3:
            return self.scales.diagonal(dim1=1, dim2=2).log().sum(1)
        return self.scales.log().sum(1) * (self.means.shape[1] / self.scales.shape[1])
