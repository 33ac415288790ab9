"""How close queries come to a set of points."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from genpipe import ops

SAME = 1e-7  # of the diagonal of the points' box: features of one example that were computed twice may differ by it


def nearest(queries: Tensor, points: Tensor, *, distinct: bool = False) -> tuple[Tensor, Tensor]:
    """The nearest of `points` for each query: index (Q,) int64, Euclidean distance (Q,) float64.

    queries: (Q, D); points: (P, D). distinct: only points that differ from the query count, for queries
    that are points themselves; a distance below 1e-7 of the data's extent counts as none. Equal
    distances go to the lower index, so the answer does not depend on how queries are cut into calls.
    Where no point counts, the distance is infinite and the index is 0.
    """
    queries, points = queries.to(torch.float64), points.to(torch.float64)
    beyond = None
    if distinct:
        low, high = torch.aminmax(points, dim=0)
        beyond = SAME * float(torch.linalg.vector_norm(high - low))
    distance, index = ops.knn_distances(queries, points, 1, beyond=beyond)
    return index[:, 0].clamp(min=0), distance[:, 0]


@dataclass(frozen=True)
class DistanceRatios:
    """How close queries come to a set of points.

    index: (Q,) the nearest point; distance: (Q,) to it; ratio: (Q,) that distance over the point's own
    distance to the nearest point that differs from it: 0 for an exact copy, about 1 for another draw of
    the same distribution.
    """

    index: Tensor
    distance: Tensor
    ratio: Tensor


def distance_ratios(queries: Tensor, points: Tensor) -> DistanceRatios:
    """Ratios of queries (Q, D) to points (P, D), P at least 2."""
    index, distance = nearest(queries, points)
    # Only the points that were nearest need their own neighbour.
    used, back = index.unique(return_inverse=True)
    # Doubles in the data do not count: beside one, everything would look infinitely far.
    _, own = nearest(points[used], points, distinct=True)
    return DistanceRatios(index, distance, distance / own[back])
