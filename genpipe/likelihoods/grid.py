"""A box of even cells around the origin, in one or two dimensions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """num_cells cells a side of [−radius, radius]^D, D = num_dimensions ≤ 2; cells are counted along the last axis first."""

    num_dimensions: int
    num_cells: int
    radius: float

    def __post_init__(self) -> None:
        assert self.num_dimensions in (1, 2), "a grid's size is a power of its dimensions"

    @property
    def width(self) -> float:
        """Of a cell."""
        return 2 * self.radius / self.num_cells

    def middles(self) -> Tensor:
        """(K, D) float64, of the K = num_cells^D cells."""
        ticks = self.width * (torch.arange(self.num_cells, dtype=torch.float64) + 0.5) - self.radius
        return torch.cartesian_prod(*[ticks] * self.num_dimensions).reshape(-1, self.num_dimensions)

    def on_edge(self) -> Tensor:
        """(K,) bool: cells at the box's sides."""
        at = torch.arange(self.num_cells)
        outer = (at == 0) | (at == self.num_cells - 1)
        return outer if self.num_dimensions == 1 else (outer[:, None] | outer[None, :]).flatten()

    def log_integral(self, log_density: Tensor) -> float:
        """log ∫ exp by the midpoint rule, of values (K,) at the cells' middles."""
        return float(log_density.logsumexp(0)) + self.num_dimensions * math.log(self.width)

    def neighbourhood_max(self, values: Tensor) -> Tensor:
        """The largest of each cell's and its neighbours' values, (K, …) for (K, …)."""
        sides = [self.num_cells] * self.num_dimensions
        flat = values.reshape(*sides, -1).movedim(-1, 0)
        pool = torch.nn.functional.max_pool1d if self.num_dimensions == 1 else torch.nn.functional.max_pool2d
        return pool(flat, 3, stride=1, padding=1).movedim(0, -1).reshape(values.shape)
