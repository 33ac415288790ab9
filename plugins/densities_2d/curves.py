"""Curves with Gaussian noise around them: the density and score of points on a curve, blurred."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from genpipe.data import Array

BLOCK = 1024
NODES_PER_STD = 8
"""Nodes at most std / 8 apart: the midpoint rule is then right to 1e-6 of the density, to 1e-3 at a curve's ends."""


def num_nodes(length: float, std: float) -> int:
    """Nodes for a curve of this length."""
    return max(256, math.ceil(NODES_PER_STD * length / std))


@dataclass(frozen=True)
class BlurredCurve:
    """p(x) = Σ_k weights_k N(x; nodes_k, std² I). nodes: (K, 2); weights: (K,), of sum 1; both float64."""

    nodes: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]
    std: float

    def log_density(self, x: Array) -> npt.NDArray[np.float64]:
        """log p(x) in nats, (N,), for x (N, 2)."""
        constant = math.log(2 * math.pi * self.std**2)
        parts = [np.empty(0)]
        for start in range(0, len(x), BLOCK):
            shares, nearest = self._shares(x[start : start + BLOCK])
            parts.append(np.log(shares.sum(axis=1)) - nearest - constant)
        return np.concatenate(parts)

    def score(self, x: Array) -> npt.NDArray[np.float64]:
        """∇ log p(x), (N, 2): towards each node by its share of the density at x."""
        parts = [np.empty((0, 2))]
        for start in range(0, len(x), BLOCK):
            rows = x[start : start + BLOCK].astype(np.float64)
            shares, _ = self._shares(rows)
            parts.append((shares @ self.nodes / shares.sum(axis=1, keepdims=True) - rows) / self.std**2)
        return np.concatenate(parts)

    def _shares(self, x: Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """weights · e^(s₀ − s), (N, K), and s₀, (N,): s is half the squared distance to each node in deviations, s₀ the
        least."""
        rows = x.astype(np.float64)
        squares = (rows[:, :1] - self.nodes[:, 0]) ** 2 + (rows[:, 1:] - self.nodes[:, 1]) ** 2
        squares /= 2 * self.std**2
        nearest = squares.min(axis=1)
        return self.weights * np.exp(nearest[:, None] - squares), nearest
