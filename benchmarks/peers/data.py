"""What cases share: data as the data stage gives it, and our side of a training."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.peers.case import Numbers
from genpipe.data import RawData, Split
from genpipe.dataspec import DataSpec
from genpipe.model import Model
from genpipe.registry import registry
from genpipe.steps import ProgressFile
from genpipe.training.config import TrainConfig
from genpipe.training.loop import train


def load(name: str, **options: Any) -> Split:
    """All examples of a data set, with what the data stage measures of vectors."""
    record = registry().get("dataset", name)
    raw: RawData = record.builder(record.config_class(**options), 0)
    spec = raw.spec
    if spec.event == "vector":
        flat = raw.x.reshape(len(raw.x), -1).astype("float64")
        spec = DataSpec(**{**vars(spec), "mean": tuple(flat.mean(0).tolist()), "std": tuple(flat.std(0).tolist())})
    return Split(spec, "train", raw.x, raw.y)


def trained(model: Model, split: Split, config: TrainConfig) -> Numbers:
    """Trains in place; gives how many parameters there are, and the loss at the end."""
    with tempfile.TemporaryDirectory() as folder:
        progress = ProgressFile(Path(folder) / "progress.jsonl")
        result = train(model, split, config, seed=0, device="cpu", scratch=Path(folder), progress=progress)
        progress.close()
    return {"parameters": num_parameters(model), "loss": result.numbers["loss"]}


def num_parameters(module: Any) -> int:
    return sum(p.numel() for p in module.parameters())
