"""Where a fit begins: centres by k-means++, on as much of the data as is worth keeping in memory."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genpipe.errors import DataError
from genpipe.noise import Noise

BLOCK = 4096


class Subset:
    """At most `num` of the examples added, each as likely as any other, in their order: the same in any batches."""

    def __init__(self, num: int) -> None:
        self.num, self.total = num, 0
        self._rows: list[Tensor] = []
        self._lots: list[Tensor] = []

    def add(self, z: Tensor, noise: Noise) -> None:
        """z: (B, D); noise: theirs."""
        self._rows.append(z)
        self._lots.append(noise.uniform("subset", (len(z), 1), dtype=torch.float64)[:, 0])
        self.total += len(z)
        if sum(map(len, self._lots)) > 2 * self.num:
            self._cut()

    def rows(self) -> Tensor:
        """(at most num, D)."""
        self._cut()
        return self._rows[0]

    def _cut(self) -> None:
        rows, lots = torch.cat(self._rows), torch.cat(self._lots)
        if len(lots) > self.num:
            kept = lots.argsort()[: self.num].sort().values
            rows, lots = rows[kept], lots[kept]
        self._rows, self._lots = [rows], [lots]


def kmeans_plus_plus(z: Tensor, num_components: int, noise: Noise) -> Tensor:
    """Indices (K,) of rows of z, each drawn with probability as its squared distance to those before."""
    u = noise.uniform("k-means++", (num_components, 1), dtype=torch.float64)[:, 0].tolist()
    chosen = [min(int(u[0] * len(z)), len(z) - 1)]
    nearest = torch.full((len(z),), math.inf, dtype=torch.float64)
    for k in range(1, num_components):
        for start in range(0, len(z), BLOCK):
            rows = z[start : start + BLOCK].double()
            distance = (rows - z[chosen[-1]].double()).square().sum(1)
            nearest[start : start + len(rows)].clamp_(max=distance)
        total = nearest.cumsum(0)
        if total[-1] == 0:
            raise DataError(
                f"there are only {k} different examples for {num_components} components: lower num_components"
            )
        chosen.append(int(torch.searchsorted(total, u[k] * total[-1], right=True).clamp(max=len(z) - 1)))
    return torch.tensor(chosen)


def nearest_centre(rows: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row, one-hot (B, K) which centre is nearest, and the squared distance (B,)."""
    # By differences: a product's rounding would choose among near ones by where the origin lies.
    squares = torch.cdist(rows, centres, compute_mode="donot_use_mm_for_euclid_dist").square()
    distance, index = squares.min(1)
    return torch.nn.functional.one_hot(index, len(centres)).to(rows.dtype), distance
