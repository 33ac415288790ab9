"""Precision, recall, density and coverage from exact counts of points in balls."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from genpipe import ops
from genpipe.errors import GenpipeError
from genpipe.evaluation import Estimate, Metric, Shard, State
from genpipe.feature_sample import FeatureSample
from genpipe.plugins.prdc.config import PrdcConfig


class Prdc(Metric):
    """How samples and training split lie in balls around each other.

    Precision: samples in some training example's ball; recall: training examples in some sample's ball
    (Kynkäänniemi et al., 2019, eq. 2). Density: balls that a sample lies in, over k; coverage: training
    examples whose ball holds a sample (Naeem et al., 2020, eqs. 3 and 4). All depend on the numbers and on
    the dimension, also between two draws of real data: read them beside the oracle row. Standard errors are
    those of counting, with the balls as they are.
    """

    calibrates_on = ("train",)

    def __init__(self, config: PrdcConfig) -> None:
        self._k, self._sample = config.k, FeatureSample(config.max_examples)

    def calibrate(self, real: Mapping[str, State]) -> None:
        self._real = real["train"]["features"]
        self._real_radii = self._radii(self._real, "the training split")

    def _radii(self, features: Tensor, name: str) -> Tensor:
        if len(features) <= self._k:
            raise GenpipeError(
                f"prdc: k = {self._k} neighbours need more than {self._k} examples, got {len(features)} of {name}"
            )
        return ops.knn_distances(features, features, self._k, exclude_self=True)[0][:, -1]

    def shard(self, shard: Shard) -> State:
        assert shard.features is not None
        return self._sample.of(shard.features, shard.first_index)

    def merge(self, first: State, second: State) -> State:
        return self._sample.merge(first, second)

    def result(self, state: State) -> list[Estimate]:
        fake, real, real_radii = state["features"], self._real, self._real_radii
        fake_radii = self._radii(fake, "the row")
        num = len(fake)
        notes: tuple[str, ...] = ()
        if num < len(real):
            # Balls shrink as numbers grow: only equal ones compare.
            real = real[:num]
            real_radii = self._radii(real, "the training split")
        elif num > len(real):
            notes = (f"{num} samples against {len(real)} training examples: balls around samples are smaller",)
        counts = ops.ball_counts(fake, real, query_radii=fake_radii, reference_radii=real_radii)
        density = counts.query_contained.to(torch.float64) / self._k
        shares = {
            "precision": counts.query_contained > 0,
            "recall": counts.reference_contained > 0,
            "coverage": counts.reference_holds > 0,
        }
        cells = {name: self._share(name, hits, num, notes) for name, hits in shares.items()}
        spread = float(density.std(correction=1)) / math.sqrt(num)
        cells["density"] = Estimate(
            name="density", value=float(density.mean()), standard_error=spread, num=num, notes=notes
        )
        return [cells[name] for name in ("precision", "recall", "density", "coverage")]

    @staticmethod
    def _share(name: str, hits: Tensor, num: int, notes: tuple[str, ...]) -> Estimate:
        share = float(hits.to(torch.float64).mean())
        # Jeffreys' estimate in the error alone: where all or none hit it is small, not nothing.
        likely = (share * len(hits) + 0.5) / (len(hits) + 1)
        error = math.sqrt(likely * (1 - likely) / len(hits))
        return Estimate(name=name, value=share, standard_error=error, better="higher", num=num, notes=notes)


def build(config: PrdcConfig) -> Prdc:
    return Prdc(config)
