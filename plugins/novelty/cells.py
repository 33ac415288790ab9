"""C_T: whether samples lie closer to the training data than held-out data does, region by region (Meehan et al., 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from genpipe import ops
from genpipe.neighbours import nearest

FIT_ON = 4000
ITERATIONS = 25


def centres(train: Tensor, num_cells: int) -> Tensor:
    """Centres (K, D) of K cells of the training features (N, D), K at most N: Lloyd's algorithm from k-means++.

    A function of the features alone: of more than 4,000 a fixed random part is taken.
    """
    chosen = ops.permutation(ops.key(0, "novelty/cells"), len(train))[: min(len(train), FIT_ON)]
    points = train[chosen].to(torch.float64)
    u = ops.uniform(ops.key(0, "novelty/k-means++"), (min(num_cells, len(points)),), dtype=torch.float64)
    found = points[:1]
    squares = (points - found[0]).square().sum(1)
    while len(found) < len(u) and float(squares.sum()) > 0:
        total = squares.cumsum(0)
        pick = torch.searchsorted(total, u[len(found)] * total[-1], right=True).clamp(max=len(points) - 1)
        found = torch.cat([found, points[pick][None]])
        squares = torch.minimum(squares, (points - found[-1]).square().sum(1))
    for _ in range(ITERATIONS):
        which = cell_of(points, found)
        counts = torch.bincount(which, minlength=len(found))[:, None]
        sums = torch.zeros_like(found).index_add_(0, which, points)
        moved = torch.where(counts > 0, sums / counts.clamp(min=1), found)
        if torch.equal(moved, found):
            break
        found = moved
    return found


def cell_of(features: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre of each, (B,) int64."""
    return nearest(features, centres)[0]


@dataclass(frozen=True)
class CopyingTest:
    """value: C_T; standard_error: what it scatters by where samples are distributed as held-out data is; num_used and
    num_cells: cells with enough examples on both sides, and all."""

    value: float
    standard_error: float
    num_used: int
    num_cells: int


def data_copying(
    distance: Tensor,
    cell: Tensor,
    held_out_distance: Tensor,
    held_out_cell: Tensor,
    *,
    num_cells: int,
    min_in_cell: int,
) -> CopyingTest | None:
    """C_T (Meehan et al., 2020, eq. 3): the mean over cells, by their share of held-out data, of the z-score of Mann and
    Whitney's U between distances to the training split, of samples (N,) and of held-out data (M,).

    None where no cell has min_in_cell of both.
    """
    scores, shares = [], []
    for k in range(num_cells):
        samples, held_out = distance[cell == k], held_out_distance[held_out_cell == k]
        if min(len(samples), len(held_out)) >= min_in_cell:
            scores.append(z_score(samples, held_out))
            shares.append(len(held_out))
    if not scores:
        return None
    weights = torch.tensor(shares, dtype=torch.float64) / sum(shares)
    value = float((weights * torch.tensor(scores, dtype=torch.float64)).sum())
    return CopyingTest(value, math.sqrt(float(weights.square().sum())), len(scores), num_cells)


def z_score(first: Tensor, second: Tensor) -> float:
    """Of Mann and Whitney's U: below 0 where the first (N,) tend to be smaller than the second (M,); 0 where all are
    equal. Ties count half, and narrow the deviation as Mann & Whitney's variance with ties does."""
    num, other = len(first), len(second)
    together = torch.cat([first, second])
    _, back, counts = together.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).to(torch.float64)
    ranks = (last - (counts - 1) / 2)[back]
    u = float(ranks[:num].sum()) - num * (num + 1) / 2
    total = num + other
    ties = float((counts.to(torch.float64) ** 3 - counts).sum())
    variance = num * other / 12 * (total + 1 - ties / (total * (total - 1)))
    return (u - num * other / 2) / math.sqrt(variance) if variance > 0 else 0.0
