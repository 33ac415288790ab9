"""Examples standardised by the training split."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.evaluation import FeatureExtractor
from genpipe.plugins.pixels.config import StandardiseConfig


class Standardise(FeatureExtractor):
    """(x − mean) / std for each of the D positions, over the training split.

    A vector's columns have units of their own, so each is divided by its own deviation and none may be
    constant. The positions of an image or a sequence share a unit; there the divisor has a floor.
    """

    def __init__(self, config: StandardiseConfig) -> None:
        self._min_relative_std = config.min_relative_std

    def prepare(self, spec: DataSpec, train: Tensor) -> None:
        flat = train.to(torch.float64).flatten(start_dim=1)
        self._mean = flat.mean(dim=0)
        # Exactly 0 where a column is constant: its mean, and so its computed deviation, may be off by
        # rounding.
        std = flat.std(dim=0, correction=0) * (flat.amax(dim=0) > flat.amin(dim=0))
        if spec.event != "vector":
            std = std.clamp(min=self._min_relative_std * float(std.square().mean().sqrt()))
        if not bool((std > 0).all()):
            raise DataError(
                f"data set '{spec.name}': {int((std == 0).sum())} of {len(std)} positions are constant in "
                "the training split, so they cannot be standardised; use the features 'identity'"
            )
        self._std = std

    def __call__(self, x: Tensor) -> Tensor:
        return (x.to(torch.float64).flatten(start_dim=1) - self._mean) / self._std

    @property
    def fingerprint(self) -> str:
        """With a digest of mean and deviation to 6 digits: rounding of sums differs between machines."""
        numbers = " ".join(f"{v:.6g}" for v in torch.cat([self._mean, self._std]).tolist())
        return f"standardise@{hashlib.sha256(numbers.encode()).hexdigest()[:8]}"


def build(config: StandardiseConfig) -> Standardise:
    return Standardise(config)
