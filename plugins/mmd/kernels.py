"""Kernels of features, as functions of two blocks of examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from genpipe.errors import GenpipeError

Kernel = Callable[[Tensor, Tensor], Tensor]  # (n, D), (m, D) → (n, m)

MEDIAN_OF = 1000  # examples: half a million distances


def polynomial(x: Tensor, y: Tensor) -> Tensor:
    """(x·y / D + 1)³ (Bińkowski et al., 2018, eq. 5)."""
    base = (x @ y.T).div_(x.shape[1]).add_(1)
    return base.square().mul_(base)


def gaussians(bandwidths: Sequence[float]) -> Kernel:
    """The mean of exp(−‖x − y‖² / 2σ²) over bandwidths σ."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        squares = torch.addmm(y.square().sum(dim=1), x, y.T, alpha=-2).add_(x.square().sum(dim=1)[:, None])
        squares.clamp_(min=0)
        total = torch.zeros_like(squares)
        for sigma in bandwidths:
            total.add_((squares * (-0.5 / sigma**2)).exp_())
        return total.div_(len(bandwidths))

    return kernel


def median_distance(features: Tensor) -> float:
    """Between two examples (Gretton et al., 2012, section 8), of the first thousand. GenpipeError where it is 0."""
    median = float(torch.pdist(features[:MEDIAN_OF]).median())
    if median == 0:
        raise GenpipeError(
            "mmd: the median distance between training examples is 0, as half of all pairs are the same, so there is "
            "no unit of bandwidth"
        )
    return median
