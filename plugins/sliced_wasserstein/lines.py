"""Exact transport between numbers on a line, by sorting."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Order = Literal[1, 2]


@dataclass(frozen=True)
class Coupling:
    """The monotone coupling of n equal weights 1/n with m equal weights 1/m, both in ascending order.

    Its S pieces carry `mass` (S,) from place `first` to place `second`, (S,) each.
    """

    first: Tensor
    second: Tensor
    mass: Tensor


def monotone(n: int, m: int) -> Coupling:
    """Optimal for every cost that is a convex function of the difference."""
    whole = math.lcm(n, m)
    ends = torch.cat([torch.arange(1, n + 1) * (whole // n), torch.arange(1, m + 1) * (whole // m)]).unique()
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    return Coupling(starts // (whole // n), starts // (whole // m), (ends - starts).to(torch.float64) / whole)


def transport(x: Tensor, y: Tensor, order: Order) -> tuple[Tensor, Tensor, Tensor]:
    """W_p^p between the numbers x (P, n) and y (P, m), each row ascending, and the dual potentials.

    Gives cost (P,), φ (P, n) and ψ (P, m), with φᵢ + ψⱼ = |xᵢ − yⱼ|^p wherever mass goes from i to j. They are what the
    cost gains by more weight on an example, so their variances over n and m are the cost's (Sommerfeld & Munk, 2018;
    del Barrio & Loubes, 2019).
    """
    coupling = monotone(x.shape[1], y.shape[1])
    i, j = coupling.first, coupling.second

    def moved(first: Tensor, second: Tensor) -> Tensor:
        distance = (x[:, first] - y[:, second]).abs_()
        return distance if order == 1 else distance.square_()

    pieces = moved(i, j)
    cost = pieces @ coupling.mass
    # From piece to piece either i moves on, and φ changes by what the cost does, or j and ψ; where both do at once, any
    # share between the two orders in which they might is a solution, and the middle is taken.
    between = 0.5 * (moved(i[1:], j[:-1]) - moved(i[:-1], j[1:]))
    half = 0.5 * (pieces[:, 1:] - pieces[:, :-1])
    phi = _potential(x, i, half + between)
    psi = _potential(y, j, half - between)
    return cost, phi, psi


def _potential(points: Tensor, place: Tensor, steps: Tensor) -> Tensor:
    """Sums of the steps (P, S − 1) up to where each place (S,) begins, (P, n)."""
    moves = place[1:] != place[:-1]
    start = torch.zeros_like(points[:, :1])
    return torch.cat([start, steps[:, moves].cumsum(dim=1)], dim=1)
