"""What a mixture's maximisation step needs of the data: weighted counts, sums and squares, gathered block by block."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from genpipe.errors import DataError
from genpipe.plugins.mixture.config import Covariance
from genpipe.plugins.mixture.gaussians import Mixture


@dataclass(frozen=True)
class Estimation:
    """How components' covariances are estimated: shape, and what is added to maximum likelihood."""

    covariance: Covariance
    reg_covar: float = 0.0
    shrinkage: float = 0.0


class Statistics:
    """Sums over examples, weighted by responsibilities, of offsets from `centres` (K, D).

    Offsets, since E[z²] − E[z]² loses all digits where the variance is small. centres: the means of the iteration
    before, which are near.
    """

    def __init__(self, centres: Tensor, covariance: Covariance) -> None:
        k, d = centres.shape
        shape = {"full": (k, d, d), "tied": (k, d, d), "diagonal": (k, d), "spherical": (k, d)}[covariance]
        self.centres = centres
        self.counts = centres.new_zeros(k)
        self.sums = centres.new_zeros(k, d)
        self.squares = centres.new_zeros(shape)

    def add(self, rows: Tensor, responsibilities: Tensor) -> None:
        """rows: (B, D) float64; responsibilities: (B, K)."""
        self.counts += responsibilities.sum(0)
        for k, weights in enumerate(responsibilities.T):
            touched = weights.nonzero()[:, 0] if (weights == 0).any() else slice(None)  # few, where EM has settled
            offsets = rows[touched] - self.centres[k]
            weighted = weights[touched, None] * offsets
            self.sums[k] += weighted.sum(0)
            if self.squares.ndim == 3:
                self.squares[k].addmm_(weighted.T, offsets)
            else:
                self.squares[k] += (weighted * offsets).sum(0)

    def maximise(self, how: Estimation) -> Mixture:
        """The M step.

        A full or tied covariance is (1 − shrinkage) S + shrinkage · diag(S) + reg_covar · I for the weighted sample
        covariance S (Schäfer & Strimmer, 2005, target D): maximum likelihood where both are 0, and a penalised
        estimate otherwise, which few examples for many dimensions need. DataError where it is singular.
        """
        counts = self.counts + 10 * torch.finfo(torch.float64).eps
        moved = self.sums / counts[:, None]
        means, log_weights = self.centres + moved, (counts / counts.sum()).log()
        if self.squares.ndim == 2:
            variances = self.squares / counts[:, None] - moved.square() * (self.counts / counts)[:, None]
            if how.covariance == "spherical":
                variances = variances.mean(1, keepdim=True)
            return Mixture(log_weights, means, (variances.clamp(min=0) + how.reg_covar).sqrt())
        squares = self.squares - self.counts[:, None, None] * moved[:, :, None] * moved[:, None, :]
        covariances = squares / counts[:, None, None]
        if how.covariance == "tied":
            covariances = squares.sum(0, keepdim=True) / counts.sum()
        diagonals = covariances.diagonal(dim1=1, dim2=2).clone()
        covariances *= 1 - how.shrinkage
        covariances.diagonal(dim1=1, dim2=2).copy_(diagonals.clamp(min=0) + how.reg_covar)
        scales, failed = torch.linalg.cholesky_ex(covariances)
        if failed.any():
            raise DataError(
                f"the covariance of component {int(failed.nonzero()[0])} is singular: raise reg_covar (now "
                f"{how.reg_covar:g}) or shrinkage (now {how.shrinkage:g}), or lower num_components (now {len(counts)})"
            )
        return Mixture(log_weights, means, scales)
