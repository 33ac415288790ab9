"""The squared maximum mean discrepancy as a U-statistic over all pairs, and the variance of that estimate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from genpipe.plugins.mmd.kernels import Kernel

BLOCK = 1024  # examples on either side of a block of kernel values


@dataclass(frozen=True)
class Pairs:
    """Kernel values over pairs, summed in float64. rows: (n,) over each example's partners; columns: (m,) likewise for
    the other side, the same as rows within one set; squares: of all; each: how many pairs there are."""

    rows: Tensor
    columns: Tensor
    squares: float
    each: int

    @property
    def mean(self) -> float:
        return float(self.rows.sum()) / self.each

    @property
    def interaction(self) -> float:
        """The variance of what is neither of one example nor of the other: the last of Hoeffding's components."""
        own = sum(float((side * (len(side) / self.each)).var(correction=1)) for side in (self.rows, self.columns))
        return max(self.squares / self.each - self.mean**2 - own, 0.0)


def within(x: Tensor, kernel: Kernel) -> Pairs:
    """Over pairs of two different examples of x (n, D), n at least 2."""
    rows, squares = torch.zeros(len(x), dtype=torch.float64), 0.0
    for i in range(0, len(x), BLOCK):
        for j in range(i, len(x), BLOCK):
            values = kernel(x[i : i + BLOCK], x[j : j + BLOCK])
            if i == j:
                values.fill_diagonal_(0)
            else:
                rows[j : j + BLOCK] += values.sum(dim=0, dtype=torch.float64)
            rows[i : i + BLOCK] += values.sum(dim=1, dtype=torch.float64)
            squares += (1 if i == j else 2) * float(values.square_().sum(dtype=torch.float64))
    return Pairs(rows, rows, squares, len(x) * (len(x) - 1))


def between(x: Tensor, y: Tensor, kernel: Kernel) -> Pairs:
    """Over pairs of one example of x (n, D) and one of y (m, D)."""
    rows, columns = torch.zeros(len(x), dtype=torch.float64), torch.zeros(len(y), dtype=torch.float64)
    squares = 0.0
    for i in range(0, len(x), BLOCK):
        for j in range(0, len(y), BLOCK):
            values = kernel(x[i : i + BLOCK], y[j : j + BLOCK])
            rows[i : i + BLOCK] += values.sum(dim=1, dtype=torch.float64)
            columns[j : j + BLOCK] += values.sum(dim=0, dtype=torch.float64)
            squares += float(values.square_().sum(dtype=torch.float64))
    return Pairs(rows, columns, squares, len(x) * len(y))


def squared_mmd(x: Pairs, y: Pairs, cross: Pairs) -> tuple[float, float | None]:
    """MMD² (Gretton et al., 2012, eq. 3), unbiased and so below 0 half of the time for equal distributions, and its
    variance; None of fewer than 3 examples.

    The jackknife that leaves out one example after the other counts each example's own share of the variance once and
    that of pairs twice (Efron & Stein, 1981, section 2), so theirs is taken off once. For equal distributions pairs
    are all there is; the noise of what is then a difference of nothing makes the error a fifth too large.
    """
    n, m = len(x.rows), len(y.rows)
    value = x.mean + y.mean - 2 * cross.mean
    if min(n, m) < 3:
        return value, None
    jackknife = _left_out(x, cross.rows, m) + _left_out(y, cross.columns, n)
    pairs = 2 * x.interaction / x.each + 2 * y.interaction / y.each + 4 * cross.interaction / cross.each
    return value, max(jackknife - pairs, pairs)


def _left_out(own: Pairs, across: Tensor, others: int) -> float:
    """The jackknife's variance for one side. across: (n,) kernel values summed over the other side's examples."""
    n = len(own.rows)
    left = (own.rows.sum() - 2 * own.rows) / ((n - 1) * (n - 2)) - 2 * (across.sum() - across) / ((n - 1) * others)
    return (n - 1) * float(left.var(correction=0))
