"""Exact nearest neighbours in blocks: never more than one block of distances in memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

QUERY_BLOCK = 1024
POINT_BLOCK = 4096  # with QUERY_BLOCK: 32 MiB of float64 distances


def nearest(queries: Tensor, points: Tensor, *, distinct: bool = False) -> tuple[Tensor, Tensor]:
    """The nearest of `points` for each query: index (Q,) int64, Euclidean distance (Q,) float64.

    queries: (Q, D); points: (P, D). distinct: only points that differ from the query count, for queries
    that are points themselves; a distance below about 3e-7 of the data's extent counts as none. Equal
    distances go to the lower index, so the answer does not depend on how queries are cut into calls.
    Where no point counts, the distance is infinite and the index is 0.
    """
    queries, points = queries.to(torch.float64), points.to(torch.float64)
    centre = points.mean(dim=0)  # |q|² + |p|² − 2 q·p loses digits far from the origin
    centred = points - centre
    norms = centred.square().sum(dim=1)
    indices = [torch.empty(0, dtype=torch.int64)]
    distances = [torch.empty(0, dtype=torch.float64)]
    for start in range(0, len(queries), QUERY_BLOCK):
        block = queries[start : start + QUERY_BLOCK]
        index, found = _nearest_of_block(block - centre, centred, norms, distinct)
        # The expansion is good enough to choose by, not to report: an exact copy must be at distance 0.
        exact = torch.linalg.vector_norm(block - points[index], dim=1)
        indices.append(index)
        distances.append(torch.where(found, exact, torch.inf))
    return torch.cat(indices), torch.cat(distances)


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


def _nearest_of_block(queries: Tensor, points: Tensor, norms: Tensor, distinct: bool) -> tuple[Tensor, Tensor]:
    """Index of the nearest point for each query, and whether there is one."""
    own = queries.square().sum(dim=1)
    best = torch.full((len(queries),), torch.inf, dtype=torch.float64)
    index = torch.zeros(len(queries), dtype=torch.int64)
    # Rounding of the expansion; distances closer than this count as equal.
    slack = 1e-13 * (own + norms.max())
    for start in range(0, len(points), POINT_BLOCK):
        block = points[start : start + POINT_BLOCK]
        squared = own[:, None] + norms[None, start : start + POINT_BLOCK] - 2 * queries @ block.T
        if distinct:
            squared[squared <= slack[:, None]] = torch.inf
        lowest = squared.min(dim=1).values
        first = (squared <= (lowest + slack)[:, None]).to(torch.uint8).argmax(dim=1) + start
        closer = lowest < best - slack
        index = torch.where(closer, first, index)
        best = torch.where(closer, lowest, best)
    return index, best.isfinite()
