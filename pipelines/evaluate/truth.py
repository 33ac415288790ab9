"""The density that a data set was drawn from, where it is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genpipe.artifacts import read_manifest
from genpipe.components import Dataset, load_reference
from genpipe.evaluation import Modes
from genpipe.registry import Registry
from genpipe.validation import restore_config

Field = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """log_density: (B,) nats of x (B, *event), float64; score: its gradient, (B, *event); modes: of the data; draw:
    f(num, seed), examples (num, *event) that are in no split."""

    log_density: Field
    score: Field | None
    modes: Modes | None
    draw: Callable[[int, int], Tensor] | None


def known_truth(data: Path, registry: Registry) -> Truth | None:
    """Of the data set that a data artifact was made of."""
    chosen = dict(read_manifest(data).config["dataset"])
    record: Dataset = registry.get("dataset", chosen.pop("name"))
    if record.log_density is None:
        return None
    config = restore_config(record.config_class, chosen, registry)
    modes = None
    if record.modes is not None:
        centres, std = load_reference(record.modes)(config)
        modes = Modes(torch.as_tensor(np.asarray(centres), dtype=torch.float64), float(std))
    return Truth(
        log_density=_field(record.log_density, config),
        score=None if record.score is None else _field(record.score, config),
        modes=modes,
        draw=None if record.draw is None else _draw(record.draw, config),
    )


def _field(reference: str, config: Any) -> Field:
    function = load_reference(reference)

    def field(x: Tensor) -> Tensor:
        return torch.as_tensor(np.asarray(function(config, x.detach().cpu().numpy())), dtype=torch.float64)

    return field


def _draw(reference: str, config: Any) -> Callable[[int, int], Tensor]:
    function = load_reference(reference)

    def draw(num: int, seed: int) -> Tensor:
        return torch.as_tensor(np.asarray(function(config, num, seed)))

    return draw
