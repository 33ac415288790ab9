"""Examples as their own features."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.evaluation import Examples, FeatureExtractor, LabelledExamples
from genpipe.plugins.pixels.config import IdentityConfig


class Identity(FeatureExtractor):
    """x flattened to (B, D). There is nothing to prepare, keep or restore."""

    def prepare(self, spec: DataSpec, split: LabelledExamples | None, train: Examples) -> None:
        pass

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, spec: DataSpec, state: Mapping[str, Tensor]) -> None:
        pass

    def __call__(self, x: Tensor) -> Tensor:
        return x.to(torch.float64).flatten(start_dim=1)

    @property
    def fingerprint(self) -> str:
        return "identity"


def build(config: IdentityConfig) -> Identity:
    return Identity()
