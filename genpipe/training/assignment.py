"""A training as plain data, which crosses to any worker, and the work itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genpipe.data import open_split
from genpipe.model import Model
from genpipe.registry import Registry
from genpipe.steps import ProgressFile
from genpipe.stores import StoredFolder
from genpipe.training.config import TrainConfig
from genpipe.training.group import Group
from genpipe.training.loop import TrainResult, build_model, train


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Train `family` with its `options` as `config` says, on the data artifact at `data`, checkpoints in `scratch`."""

    family: str
    options: Mapping[str, Any]
    config: Mapping[str, Any]
    data: str
    scratch: str
    seed: int
    device: str

    def carry_out(
        self,
        registry: Registry,
        progress: ProgressFile,
        *,
        stored: StoredFolder | None = None,
        group: Group | None = None,
    ) -> tuple[Model, TrainResult]:
        """Builds the model and trains it; see `train` for what it raises."""
        config, split = TrainConfig(**self.config), open_split(Path(self.data), "train")
        family = registry.get("family", self.family)
        model = build_model(family, family.config_class(**self.options), split.spec, seed=self.seed)
        result = train(
            model,
            split,
            config,
            seed=self.seed,
            device=self.device,
            scratch=Path(self.scratch),
            progress=progress,
            stored=stored,
            group=group,
            validation=None if config.validate_every is None else open_split(Path(self.data), "validation"),
        )
        return model, result
