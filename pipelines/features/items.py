"""The items of work: what an extractor gives of a range of a split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from genpipe.config import Component
from genpipe.data import open_split
from genpipe.parallel import Range
from genpipe.pipelines.features.compute import What, in_batches
from genpipe.pipelines.features.kept import restored
from genpipe.registry import registry
from genpipe.stores import Site


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """All that are at work, as each process is told. chosen, states: by id; site: by which other machines find data."""

    data: Path
    site: Site | None
    device: str
    batch_size: int
    chosen: Mapping[str, Component]
    states: Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class Item:
    extractor: str
    what: What
    split: str
    at: Range

    def __str__(self) -> str:
        return f"the {self.what} '{self.extractor}' of {self.at} of the split '{self.split}'"


def computer(prepared: Prepared) -> Callable[[Item], npt.NDArray[np.float64]]:
    """The task; gives (len(at), …)."""
    folder = prepared.data if prepared.site is None else prepared.site.artifact(prepared.data)
    splits = {name: open_split(folder, name) for name in ("train", "test")}
    spec = splits["train"].spec
    extractors = {
        name: restored(component, prepared.states[name], spec, registry(), prepared.device)
        for name, component in prepared.chosen.items()
    }

    def compute(item: Item) -> npt.NDArray[np.float64]:
        x = splits[item.split].x
        return in_batches(
            item.what,
            extractors[item.extractor],
            prepared.chosen[item.extractor].name,
            lambda at: torch.from_numpy(np.array(x[at.slice])),
            item.at,
            prepared.batch_size,
        ).numpy()

    return compute


COMPUTER = f"{__name__}:computer"
