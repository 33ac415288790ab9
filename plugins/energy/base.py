"""The Gaussian that an energy tilts, and the coordinates in which that is a standard one."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

FLOOR = 1e-5  # of a variance, network units squared: what is constant has a density all the same


class GaussianBase(nn.Module):
    """N(mean, S Sᵀ) over flattened examples z = mean + S u, (B, D).

    Buffers: mean (D,); scale, the lower triangular S (D, D), or its diagonal (D,). It begins as the standard normal.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, num_dimensions: int, *, full: bool) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_dimensions))
        self.register_buffer("scale", torch.eye(num_dimensions) if full else torch.ones(num_dimensions))

    @property
    def is_full(self) -> bool:
        return self.scale.ndim == 2

    def colour(self, u: Tensor) -> Tensor:
        """z for u, (B, D)."""
        return torch.addmm(self.mean, u, self.scale.T) if self.is_full else torch.addcmul(self.mean, u, self.scale)

    def whiten(self, z: Tensor) -> Tensor:
        """u for z, (B, D)."""
        if not self.is_full:
            return (z - self.mean) / self.scale
        return torch.linalg.solve_triangular(self.scale, (z - self.mean).T, upper=False).T

    def log_det(self) -> Tensor:
        """log |S|, 0-d float64."""
        diagonal = self.scale.diagonal() if self.is_full else self.scale
        return diagonal.double().log().sum()

    def moments(self, z: Tensor) -> Tensor:
        """What `fit` takes sums of, of z (B, D): (1 + D, D) float64, or (2, D), first Σz and then Σzzᵀ or Σz²."""
        z = z.detach().double()
        second = z.T @ z if self.is_full else z.square().sum(0, keepdim=True)
        return torch.cat([z.sum(0, keepdim=True), second])

    def fit(self, num: int, moments: Tensor) -> None:
        """Takes the mean and covariance of `num` examples. moments: the sum of what `moments` gave.

        Entries off a full covariance's diagonal are shrunk by the share (D / num)², all of it below D examples, which keeps
        it regular where they are few and does nothing where they are many.
        """
        num_dimensions = len(self.mean)
        mean = moments[0] / num
        self.mean.copy_(mean)
        if not self.is_full:
            self.scale.copy_((moments[1] / num - mean.square()).clamp(min=FLOOR).sqrt())
            return
        covariance = moments[1:] / num - torch.outer(mean, mean)
        variances = covariance.diagonal().clamp(min=FLOOR)
        covariance = covariance * (1 - min(1.0, num_dimensions / num) ** 2)
        covariance.diagonal().copy_(variances)
        self.scale.copy_(torch.linalg.cholesky(covariance))


def log_normal(u: Tensor) -> Tensor:
    """log N(u; 0, I), (B,)."""
    return -0.5 * (u.square() + math.log(2 * math.pi)).sum(dim=1)
