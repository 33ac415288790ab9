"""Equal boxes that tile space, and how many examples lie in each: only those that hold any are kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from genpipe import ops


@dataclass(frozen=True)
class Tiling:
    """Boxes [origin + width · i, origin + width · (i + 1)) for whole numbers i (D,). origin, width: (D,) float64."""

    origin: Tensor
    width: Tensor

    def box(self, z: Tensor) -> Tensor:
        """i of the boxes that z (B, D) lies in, (B, D) int32; what is further than 2³⁰ boxes away lies in the last."""
        return ((z.double() - self.origin) / self.width).floor().clamp(-(2**30), 2**30).int()

    @property
    def log_volume(self) -> Tensor:
        return self.width.log().sum()


def keys(boxes: Tensor) -> Tensor:
    """A number for each of boxes (B, D), int64: different ones differ but for a chance of 2⁻⁶³ a pair."""
    factors = 2 * ops.randint(ops.key(0, "histogram/boxes"), 2**62, (boxes.shape[1], 1), device=boxes.device)[:, 0] + 1
    total = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    for column, factor in zip(boxes.T, factors, strict=True):  # an integer product has no fast path in torch
        total += column * factor
    return total


def occupancy(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the boxes (N, D) that examples lie in: the different ones (M, D) in the order of their keys, how many lie in
    each (M,), and which of these each example's is (N,)."""
    unique, where, counts = keys(boxes).unique(return_inverse=True, return_counts=True)
    first = torch.full((len(unique),), len(boxes), device=boxes.device)
    first.scatter_reduce_(0, where, torch.arange(len(boxes), device=boxes.device), "amin")
    return boxes[first], counts, where


def counts_at(queries: Tensor, boxes: Tensor, counts: Tensor) -> Tensor:
    """How many examples lie in the boxes `queries` (B, D): (B,). boxes and counts: of `occupancy`."""
    if len(boxes) == 0:
        return counts.new_zeros(len(queries))
    known = keys(boxes)
    at = torch.searchsorted(known, keys(queries)).clamp(max=len(known) - 1)
    return torch.where((boxes[at] == queries).all(1), counts[at], 0)
