"""What the contract of families is held on: tiny splits of each kind of data, and every family in every setting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genpipe.components import Family
from genpipe.data import Split
from genpipe.dataspec import DataSpec
from genpipe.model import Model
from genpipe.registry import registry
from genpipe.steps import ProgressFile
from genpipe.training.config import TrainConfig
from genpipe.training.loop import TrainResult, build_model, train

# Families that are trained; what is made of trained models is held to the same beside its plugin.
FAMILIES: list[Family] = [p.record for p in registry().all("family") if p.record.training != "composed"]
NUM_EXAMPLES = 96


def images() -> Split:
    """Blobs of 17 levels at random places of a 9 × 7 image: no power of two, not square, nothing constant."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:9, :7]
    centres = rng.uniform([2, 2], [6, 5], (NUM_EXAMPLES, 2))
    distance = (rows - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2
    x = np.clip(16 * np.exp(-distance / 4) + rng.uniform(0, 1, distance.shape), 0, 16).astype(np.uint8)
    spec = DataSpec(name="blobs", event="image", shape=(1, 9, 7), levels=17, num_classes=2)
    return Split(spec, "train", x[:, None], (centres[:, 0] > 4).astype(np.int64))


def vectors() -> Split:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(NUM_EXAMPLES, 3)) @ np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 3]]) + 5).astype(np.float32)
    mean, std = tuple(x.mean(0).astype(float).tolist()), tuple(x.std(0).astype(float).tolist())
    spec = DataSpec(name="rows", event="vector", shape=(3,), num_classes=2, mean=mean, std=std)
    return Split(spec, "train", x, (x[:, 0] > 5).astype(np.int64))


def sequences() -> Split:
    x = np.random.default_rng(0).integers(0, 4, (NUM_EXAMPLES, 6)).astype(np.uint8)
    spec = DataSpec(name="words", event="sequence", shape=(6,), levels=4, num_classes=2)
    return Split(spec, "train", x, (x[:, 0] > 1).astype(np.int64))


def counts() -> Split:
    x = np.random.default_rng(0).integers(0, 4, (NUM_EXAMPLES, 3)).astype(np.uint8)
    spec = DataSpec(name="counts", event="vector", shape=(3,), levels=4, num_classes=2)
    return Split(spec, "train", x, (x[:, 0] > 1).astype(np.int64))


SPLITS = {"image": images(), "vector": vectors(), "sequence": sequences()}
COUNTS = counts()
"""The vectors of families that model whole numbers."""


@dataclass(frozen=True)
class Case:
    """A family on a kind of data, by its defaults or with the options of one of its members."""

    family: Family
    event: str
    member: str = "defaults"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([self.family.name, *([] if self.member == "defaults" else [self.member]), self.event])

    @property
    def split(self) -> Split:
        return COUNTS if self.event == "vector" and self.family.discrete else SPLITS[self.event]

    def possible(self, names: Iterable[str]) -> list[str]:
        """Those of the family's samplers or estimators that data of this many numbers allow."""
        size = self.split.spec.num_dimensions
        return [name for name in names if size <= self.family.max_dimensions.get(name, size)]

    def samplers(self, num_steps: int | None = 6) -> list[dict[str, Any] | None]:
        """The samplers that the data allows, the default first, with few steps where they take steps, or with None as many
        as they take by themselves."""
        samplers = self.family.samplers
        few = {
            name: {"num_steps": num_steps} if "num_steps" in samplers[name] else {} for name in self.possible(samplers)
        }
        return [{"name": name, **options} for name, options in few.items()] or [None]

    def build(self, seed: int = 0, **options: Any) -> Model:
        config = self.family.config_class(**{**self.options, **self._small(), **options})
        return build_model(self.family, config, self.split.spec, seed=seed)

    def _small(self) -> dict[str, Any]:
        """Sets of examples that batches of eight can be cut between."""
        return {"coupling_size": 4} if "coupling_size" in self.family.config_class.model_fields else {}


def defaults() -> list[Case]:
    """Every family on every kind of data that it models."""
    return [Case(family, event) for family in FAMILIES for event in family.events]


def members() -> list[Case]:
    """Every named setting on every kind of data that it models; `conditional` is one wherever it is an option."""
    return [
        Case(family, event, name, options)
        for family in FAMILIES
        for name, options, events in _settings(family)
        for event in events
    ]


def _settings(family: Family) -> Iterator[tuple[str, Mapping[str, Any], tuple[str, ...]]]:
    for member in family.members:
        yield member.name, member.options, member.events or family.events
    if family.conditional and "conditional" in family.config_class.model_fields:
        yield "conditional", {"conditional": True}, family.events


def marked(cases: Iterable[Case], *marks: Any) -> list[Any]:
    return [pytest.param(case, id=str(case), marks=marks) for case in cases]


_trained: dict[str, tuple[Model, TrainResult]] = {}


def trained(case: Case, tmp: Path) -> tuple[Model, TrainResult]:
    """A model after a few steps on the tiny split, made once in this process."""
    if str(case) not in _trained:
        model = case.build()
        config = TrainConfig(steps=8, batch_size=16, warmup_steps=0, log_every=4, ema_decay=0)
        result = train(
            model, case.split, config, seed=0, device="cpu", scratch=tmp / "scratch", progress=ProgressFile(None)
        )
        _trained[str(case)] = (model, result)
    return _trained[str(case)]


def labels(model: Model, num: int) -> torch.Tensor | None:
    return torch.arange(num) % 2 if model.conditional else None
