"""Examples standardised by the training split."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.evaluation import Examples, FeatureExtractor, LabelledExamples
from genpipe.plugins.pixels.config import StandardiseConfig

BLOCK = 4096  # examples in float64 at once


@dataclass(frozen=True)
class _Spread:
    """Count, mean, sum of squared deviations and extremes of each column."""

    num: int
    mean: Tensor
    squares: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, x: Tensor) -> _Spread:
        mean = x.mean(dim=0)
        return cls(len(x), mean, (x - mean).square().sum(dim=0), x.amin(dim=0), x.amax(dim=0))

    def __add__(self, other: _Spread) -> _Spread:
        """Of both together (Chan, Golub & LeVeque, 1983, eq. 1.5)."""
        num, delta = self.num + other.num, other.mean - self.mean
        return _Spread(
            num,
            self.mean + delta * (other.num / num),
            self.squares + other.squares + delta.square() * (self.num * other.num / num),
            self.low.minimum(other.low),
            self.high.maximum(other.high),
        )


class Standardise(FeatureExtractor):
    """(x − mean) / std for each of the D positions, over the training split.

    A vector's columns have units of their own, so each is divided by its own deviation and none may be
    constant. The positions of an image or a sequence share a unit; there the divisor has a floor.
    """

    def __init__(self, config: StandardiseConfig) -> None:
        self._min_relative_std = config.min_relative_std

    def prepare(self, spec: DataSpec, split: LabelledExamples | None, train: Examples) -> None:
        blocks = (np.asarray(train[start : start + BLOCK]) for start in range(0, len(train), BLOCK))
        spreads = (_Spread.of(torch.from_numpy(block.astype(np.float64)).flatten(start_dim=1)) for block in blocks)
        whole = functools.reduce(_Spread.__add__, spreads)
        self._mean = whole.mean
        # Exactly 0 where a column is constant: its mean, and so its computed deviation, may be off by
        # rounding.
        std = (whole.squares / whole.num).sqrt() * (whole.high > whole.low)
        if spec.event != "vector":
            std = std.clamp(min=self._min_relative_std * float(std.square().mean().sqrt()))
        if not bool((std > 0).all()):
            raise DataError(
                f"data set '{spec.name}': {int((std == 0).sum())} of {len(std)} positions are constant in "
                "the training split, so they cannot be standardised; use the features 'identity'"
            )
        self._std = std

    def state(self) -> dict[str, Tensor]:
        return {"mean": self._mean, "std": self._std}

    def restore(self, spec: DataSpec, state: Mapping[str, Tensor]) -> None:
        self._mean, self._std = state["mean"], state["std"]

    def __call__(self, x: Tensor) -> Tensor:
        return (x.to(torch.float64).flatten(start_dim=1) - self._mean) / self._std

    @property
    def fingerprint(self) -> str:
        """With a digest of mean and deviation to 6 digits: rounding of sums differs between machines."""
        numbers = " ".join(f"{v:.6g}" for v in torch.cat([self._mean, self._std]).tolist())
        return f"standardise@{hashlib.sha256(numbers.encode()).hexdigest()[:8]}"


def build(config: StandardiseConfig) -> Standardise:
    return Standardise(config)
