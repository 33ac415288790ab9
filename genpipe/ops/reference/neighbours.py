"""Nearest neighbours and balls from the matrix of all distances."""

from __future__ import annotations

import torch
from torch import Tensor


def distances(queries: Tensor, references: Tensor) -> Tensor:
    """(Q, R) from the differences, (Q, R, D) of them in memory."""
    return (queries[:, None] - references).square().sum(dim=2).sqrt()


def knn_distances(
    queries: Tensor, references: Tensor, k: int, *, exclude_self: bool = False, beyond: float | None = None
) -> tuple[Tensor, Tensor]:
    """Distances and indices, (Q, k), by a stable sort of each row."""
    all_pairs = distances(queries, references)
    if exclude_self:
        all_pairs.fill_diagonal_(torch.inf)
    if beyond is not None:
        all_pairs[all_pairs <= beyond] = torch.inf
    ascending = all_pairs.sort(dim=1, stable=True)
    nearest = ascending.values[:, :k]
    return nearest, torch.where(nearest.isfinite(), ascending.indices[:, :k], -1)


def ball_counts(
    queries: Tensor, references: Tensor, *, query_radii: Tensor, reference_radii: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """query_contained, query_holds (Q,), reference_contained and reference_holds (R,)."""
    all_pairs = distances(queries, references)
    in_reference, in_query = all_pairs < reference_radii, all_pairs < query_radii[:, None]
    return in_reference.sum(dim=1), in_query.sum(dim=1), in_query.sum(dim=0), in_reference.sum(dim=0)
