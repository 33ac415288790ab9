"""Moments of features by their definition."""

from __future__ import annotations

from torch import Tensor


def column_mean(x: Tensor) -> Tensor:
    """(D,) the mean of x (N, D)."""
    return x.mean(dim=0)


def centre_rows(x: Tensor, centre: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """(x − centre) · scale, (N, D), and the squared norms of its rows, (N,)."""
    centred = (x - centre) * scale
    return centred, centred.square().sum(dim=1)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (D,) of x (N, D), and Σ (x − mean)(x − mean)ᵀ, (D, D)."""
    centred = x - x.mean(dim=0)
    return x.mean(dim=0), centred.T @ centred
