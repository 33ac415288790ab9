"""The Fréchet distance as a metric, with a block jackknife over samples and reference together."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from genpipe.evaluation import Estimate, Metric, Reference, Shard, State
from genpipe.plugins.frechet.config import FrechetConfig
from genpipe.plugins.frechet.distance import frechet_distance, gaussian
from genpipe.plugins.frechet.moments import leave_one_out, merge, moments, total


class Frechet(Metric):
    """FD between samples and the training split.

    For equal Gaussians the plain value is too high by about (D² + 5D)/4 · (1/N + 1/M). Both 1/N and 1/M
    shrink alike when a block is left out of samples and reference together, so the jackknife (Quenouille,
    1956) removes the bias of both to first order, and its spread is the standard error.
    """

    calibrates_on = ("train",)

    def __init__(self, config: FrechetConfig) -> None:
        self._num_blocks, self._bias_corrected = config.num_blocks, config.bias_corrected

    def prepare(self, reference: Reference) -> None:
        self._name = f"FD({reference.extractor})"
        self._num_reference, self._dims = reference.train_features.shape

    def calibrate(self, real: Mapping[str, State]) -> None:
        state = real["train"]
        self._has_jackknife = self._enough(state)
        if self._has_jackknife:
            without, whole = leave_one_out(state)
            self._without = [gaussian(part) for part in without]
        else:
            whole = total(state)
        self._whole = gaussian(whole)

    def _blocks(self, first_index: int, num: int) -> Tensor:
        """The block of each example, by its position alone, so that shards change nothing."""
        return torch.arange(first_index, first_index + num) % self._num_blocks

    @staticmethod
    def _enough(state: State) -> bool:
        return bool((state["num"] >= 2).all())

    def shard(self, shard: Shard) -> State:
        assert shard.features is not None
        return moments(shard.features, self._blocks(shard.first_index, len(shard.features)), self._num_blocks)

    def merge(self, first: State, second: State) -> State:
        return merge(first, second)

    def result(self, state: State) -> list[Estimate]:
        num = int(state["num"].sum())
        notes = []
        if min(num, self._num_reference) < 2 * self._dims:
            notes.append(
                f"{num} examples against {self._num_reference} in {self._dims} dimensions: "
                "fewer than twice the dimensions, so covariances are poorly known"
            )
        if not (self._has_jackknife and self._enough(state)):
            few = f"no standard error: {self._num_blocks} blocks of at least 2 examples need more than {num}"
            value = frechet_distance(gaussian(total(state)), self._whole)
            return [self._cell(self._name, value, None, num, (*notes, few))]
        without, whole = leave_one_out(state)
        value = frechet_distance(gaussian(whole), self._whole)
        replicates = torch.tensor(
            [frechet_distance(gaussian(a), b) for a, b in zip(without, self._without, strict=True)],
            dtype=torch.float64,
        )
        count = self._num_blocks
        error = math.sqrt((count - 1) / count * float((replicates - replicates.mean()).square().sum()))
        cells = [self._cell(self._name, value, error, num, tuple(notes))]
        if self._bias_corrected:
            corrected = count * value - (count - 1) * float(replicates.mean())
            name = f"{self._name}, bias-corrected"
            cells.append(self._cell(name, corrected, error, num, tuple(notes)))
        return cells

    @staticmethod
    def _cell(name: str, value: float, error: float | None, num: int, notes: tuple[str, ...]) -> Estimate:
        return Estimate(name=name, value=value, standard_error=error, better="lower", num=num, notes=notes)


def build(config: FrechetConfig) -> Frechet:
    return Frechet(config)
