"""The Fréchet distance as a metric, with a jackknife over samples and reference."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from genpipe.errors import GenpipeError
from genpipe.evaluation import Estimate, Metric, Reference, Shard, State
from genpipe.feature_sample import FeatureSample
from genpipe.plugins.frechet.config import FrechetConfig
from genpipe.plugins.frechet.distance import Gaussian, correction, frechet_distance, gaussian
from genpipe.plugins.frechet.moments import merge, moments, total


class Frechet(Metric):
    """FD between samples and the training split.

    For equal Gaussians the plain value is too high by about (D² + 5D)/4 · (1/N + 1/M), and for any distributions by
    what a jackknife over samples and reference finds; it also gives the standard error, up to twice
    too large where the two are alike and the distance is nothing but bias.
    """

    calibrates_on = ("train",)

    def __init__(self, config: FrechetConfig) -> None:
        self._sample, self._bias_corrected = FeatureSample(config.num_corrected), config.bias_corrected

    def prepare(self, reference: Reference) -> None:
        self._name = reference.title("FID", "FD")

    def calibrate(self, real: Mapping[str, State]) -> None:
        self._real, self._real_features = self._fit(real["train"], "the training split")

    def _fit(self, state: State, name: str) -> tuple[Gaussian, Tensor]:
        found, features = total(state), state["features"]
        if found.num < 2:
            raise GenpipeError(f"frechet: a covariance needs at least 2 examples, got {int(found.num)} of {name}")
        return gaussian(found, features if len(features) == found.num else None), features

    def _across(self, state: State) -> tuple[Gaussian, Tensor, Tensor]:
        """A row's Gaussian, whose factor is not kept beside its product with the other's: both are D²."""
        own, features = self._fit(state, "the row")
        return own.without_factor(), own.factor.T @ self._real.factor, features

    def shard(self, shard: Shard) -> State:
        assert shard.features is not None
        return {
            **moments(shard.features, shard.first_index),
            **self._sample.of(shard.features, shard.first_index),
        }

    def merge(self, first: State, second: State) -> State:
        return {**merge(first, second), **self._sample.merge(first, second)}

    def result(self, state: State) -> list[Estimate]:
        own, cross, features = self._across(state)
        found = frechet_distance(self._real, own, cross)
        notes, dims = [], len(own.mean)
        if min(own.num, self._real.num) < 2 * dims:
            notes.append(
                f"{own.num} examples against {self._real.num} in {dims} dimensions: "
                "fewer than twice the dimensions, so covariances are poorly known"
            )
        if min(own.num, self._real.num) <= dims + 1:
            notes.append(
                "no standard error: covariances of so few examples are singular, or become so as one is left out"
            )
            return [self._cell(self._name, found.value, None, own.num, notes)]
        corrected = correction(found, self._real_features, features)
        error = math.sqrt(corrected.variance)
        cells = [self._cell(self._name, found.value, error, own.num, notes)]
        if self._bias_corrected:
            value = found.value - corrected.bias
            if value < -3 * error:
                notes.append("below 0: closer to the training split than another draw of its distribution would be")
            cells.append(self._cell(f"{self._name}, bias-corrected", value, error, own.num, notes))
        return cells

    @staticmethod
    def _cell(name: str, value: float, error: float | None, num: int, notes: list[str]) -> Estimate:
        return Estimate(name=name, value=value, standard_error=error, better="lower", num=num, notes=tuple(notes))


def build(config: FrechetConfig) -> Frechet:
    return Frechet(config)
