"""Sliced Wasserstein distances as a metric."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from genpipe import ops
from genpipe.errors import GenpipeError
from genpipe.evaluation import Estimate, Metric, Reference, Shard, State
from genpipe.feature_sample import FeatureSample
from genpipe.plugins.sliced_wasserstein.config import SlicedWassersteinConfig
from genpipe.plugins.sliced_wasserstein.lines import Order, transport

BLOCK_BYTES = 64 << 20  # of the coordinates on some lines


def directions(num: int, dims: int) -> Tensor:
    """(num, D) float64, of length 1, uniform on the sphere: the same in every shard, row and run."""
    drawn = ops.normal(ops.key(0, "sliced_wasserstein"), (num, dims), dtype=torch.float64)
    return drawn / torch.linalg.vector_norm(drawn, dim=1, keepdim=True)


class SlicedWasserstein(Metric):
    """(mean over lines of W_p^p)^(1/p) between samples and the training split, p = 1 and 2 (Bonneel et al., 2015, eq. 9).

    Above 0 also for two draws of one distribution, by an amount that falls as numbers grow: to be read beside the oracle
    row. The standard error covers sampling on both sides and the choice of lines, of which all rows share the same.
    """

    calibrates_on = ("train",)

    def __init__(self, config: SlicedWassersteinConfig) -> None:
        self._num_projections, self._sample = config.num_projections, FeatureSample(config.max_examples)

    def prepare(self, reference: Reference) -> None:
        self._directions = directions(self._num_projections, reference.train_features.shape[1])

    def calibrate(self, real: Mapping[str, State]) -> None:
        self._real = self._sorted(real["train"], "the training split")

    def shard(self, shard: Shard) -> State:
        assert shard.features is not None
        # The state's examples are their coordinates on the lines.
        return self._sample.of(shard.features @ self._directions.T, shard.first_index)

    def merge(self, first: State, second: State) -> State:
        return self._sample.merge(first, second)

    @staticmethod
    def _sorted(state: State, name: str) -> tuple[Tensor, Tensor]:
        """Coordinates on each line, ascending, (P, n), and which example has them."""
        coordinates = state["features"].T.contiguous()
        if coordinates.shape[1] < 2:
            raise GenpipeError(f"sliced_wasserstein needs at least 2 examples, got {coordinates.shape[1]} of {name}")
        found = coordinates.sort(dim=1)
        return found.values, found.indices

    def result(self, state: State) -> list[Estimate]:
        own = self._sorted(state, "the row")
        return [self._cell(order, own) for order in (1, 2)]

    def _cell(self, order: Order, own: tuple[Tensor, Tensor]) -> Estimate:
        (x, x_index), (y, y_index) = own, self._real
        n, m = x.shape[1], y.shape[1]
        costs, x_gain, y_gain = [], x.new_zeros(n), x.new_zeros(m)
        lines = max(1, BLOCK_BYTES // (8 * (n + m)))
        for start in range(0, len(x), lines):
            block = slice(start, start + lines)
            cost, phi, psi = transport(x[block], y[block], order)
            costs.append(cost)
            x_gain.index_add_(0, x_index[block].flatten(), _centred(phi).flatten())
            y_gain.index_add_(0, y_index[block].flatten(), _centred(psi).flatten())
        cost = torch.cat(costs)
        num = len(cost)
        mean = float(cost.mean())
        sampling = sum(float((gain / num).var(correction=1)) / len(gain) for gain in (x_gain, y_gain))
        error = math.sqrt(sampling + float(cost.var(correction=1)) / num)
        value = mean ** (1 / order)
        if order == 2:
            # d√w = dw / 2√w, and where all is equal there is no such thing.
            error = error / (2 * value) if value > 0 else 0.0
        return Estimate(name=f"sliced W{order}", value=value, standard_error=error, better="lower", num=n)


def _centred(potential: Tensor) -> Tensor:
    """Potentials are known up to a constant."""
    return potential - potential.mean(dim=1, keepdim=True)


def build(config: SlicedWassersteinConfig) -> SlicedWasserstein:
    return SlicedWasserstein(config)
