"""The squared maximum mean discrepancy as metrics: `kid` and `mmd`."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from genpipe.errors import GenpipeError
from genpipe.evaluation import Estimate, Metric, Reference, Shard, State
from genpipe.feature_sample import FeatureSample
from genpipe.plugins.mmd.config import KidConfig, MmdConfig
from genpipe.plugins.mmd.kernels import Kernel, gaussians, median_distance, polynomial
from genpipe.plugins.mmd.u_statistic import between, squared_mmd, within

# From so many dimensions on, kernel values are of float32: their rounding is random, and averages out over the pairs.
FLOAT32_DIMS = 512


class KernelDistance(Metric):
    """MMD² between samples and the training split, by all pairs of a fixed random part of either."""

    calibrates_on = ("train",)

    def __init__(self, config: KidConfig) -> None:
        self._sample = FeatureSample(config.max_examples)

    def prepare(self, reference: Reference) -> None:
        self._name = self._title(reference)

    def calibrate(self, real: Mapping[str, State]) -> None:
        features = real["train"]["features"]
        self._check(features, "the training split")
        self._origin, self._kernel = self._made_for(features)
        self._real = self._working(features)
        self._within = within(self._real, self._kernel)

    def shard(self, shard: Shard) -> State:
        assert shard.features is not None
        return self._sample.of(shard.features, shard.first_index)

    def merge(self, first: State, second: State) -> State:
        return self._sample.merge(first, second)

    def result(self, state: State) -> list[Estimate]:
        self._check(state["features"], "the row")
        features = self._working(state["features"])
        value, variance = squared_mmd(
            within(features, self._kernel), self._within, between(features, self._real, self._kernel)
        )
        error = None if variance is None else math.sqrt(variance)
        notes = () if error is not None else ("no standard error: of fewer than 3 examples",)
        return [
            Estimate(name=self._name, value=value, standard_error=error, better="lower", num=len(features), notes=notes)
        ]

    def _working(self, features: Tensor) -> Tensor:
        dtype = torch.float32 if features.shape[1] >= FLOAT32_DIMS else torch.float64
        return (features if self._origin is None else features - self._origin).to(dtype)

    @staticmethod
    def _check(features: Tensor, name: str) -> None:
        if len(features) < 2:
            raise GenpipeError(f"a kernel distance needs pairs, got {len(features)} example of {name}")

    @abstractmethod
    def _title(self, reference: Reference) -> str: ...

    @abstractmethod
    def _made_for(self, real: Tensor) -> tuple[Tensor | None, Kernel]:
        """What is subtracted from features, (D,) or nothing, and the kernel of what is left."""


class Kid(KernelDistance):
    """Kernel distance by (x·y / D + 1)³ (Bińkowski et al., 2018): 0 where means, covariances and third moments agree."""

    def _title(self, reference: Reference) -> str:
        return reference.title("KID", "KID")

    def _made_for(self, real: Tensor) -> tuple[Tensor | None, Kernel]:
        return None, polynomial  # which sees where the origin is


class Mmd(KernelDistance):
    """By a mean of Gaussian kernels, in units of the median distance between training examples: 0 only where all is
    equal."""

    def __init__(self, config: MmdConfig) -> None:
        super().__init__(config)
        self._bandwidths = config.bandwidths

    def _title(self, reference: Reference) -> str:
        return "MMD²"

    def _made_for(self, real: Tensor) -> tuple[Tensor | None, Kernel]:
        unit = median_distance(real)
        # Distances are differences of squared norms, which are small around the mean.
        return real.mean(dim=0), gaussians([unit * bandwidth for bandwidth in self._bandwidths])


def build_kid(config: KidConfig) -> Kid:
    return Kid(config)


def build_mmd(config: MmdConfig) -> Mmd:
    return Mmd(config)
