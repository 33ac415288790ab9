"""Whole-state checkpoints: published atomically, verified before use, the last two kept; in a store too.

A folder `checkpoint-00001500` holds weights.safetensors, ema.safetensors (the averaged weights, where averaging is on),
train_state.safetensors (what the family registered for training alone), optimizers.safetensors, best.safetensors and
best_buffers.safetensors (of the best look at the validation split) and state.json (what was found there, the losses so far
and the seconds they took). Its manifest says what the training was, so that a checkpoint is never
continued under other settings. Nothing is pickled.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from genpipe import artifacts
from genpipe.errors import ArtifactError, StoreError, UsageError
from genpipe.stores import StoredFolder
from genpipe.training.mirror import Mirror

log = logging.getLogger("genpipe.training")

NUM_KEPT = 2
PREFIX = "checkpoint-"


@dataclass(frozen=True)
class TrainState:
    """All that training goes on from after `step` finished steps.

    best, best_buffers, validation: the weights and buffers that did best on the validation split, and what was found there;
    empty where it is not watched. history: logged entries; window: the loss terms of each step since the last entry.
    """

    step: int
    weights: Mapping[str, Tensor]
    ema: Mapping[str, Tensor]
    train_state: Mapping[str, Tensor]
    optimizers: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    best_buffers: Mapping[str, Tensor]
    validation: Mapping[str, Any]
    history: list[dict[str, float]]
    window: list[dict[str, float]]
    seconds: float


def storable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU that share no memory, as safetensors needs."""
    return {name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}


def list_checkpoints(folder: Path) -> list[Path]:
    """Newest first."""
    return sorted(folder.glob(f"{PREFIX}*"), reverse=True) if folder.is_dir() else []


def mirror_at(stored: StoredFolder | None) -> AbstractContextManager[Mirror | None]:
    """What keeps a training's checkpoints in a store too, for the time of that training."""
    return nullcontext() if stored is None else Mirror(stored, NUM_KEPT)


def newest_step(folder: Path, stored: StoredFolder | None = None) -> int:
    """The step of the newest checkpoint here or in the store, whole or not; 0 where there is none."""
    with mirror_at(stored) as mirror:
        names = [path.name for path in list_checkpoints(folder)]
        if mirror is not None:
            names += _in_store(mirror, names)
    return max((int(name.removeprefix(PREFIX)) for name in names), default=0)


def write(folder: Path, state: TrainState, identity: Mapping[str, Any], mirror: Mirror | None = None) -> Path:
    """Publishes a checkpoint in `folder`, then removes all but the newest two. The mirror uploads it meanwhile."""
    final = folder / f"{PREFIX}{state.step:08d}"
    with artifacts.staging(folder) as tmp:
        save_file(storable(state.weights), tmp / "weights.safetensors")
        save_file(storable(state.ema), tmp / "ema.safetensors")
        save_file(storable(state.train_state), tmp / "train_state.safetensors")
        save_file(storable(state.optimizers), tmp / "optimizers.safetensors")
        save_file(storable(state.best), tmp / "best.safetensors")
        save_file(storable(state.best_buffers), tmp / "best_buffers.safetensors")
        fields = {
            "validation": dict(state.validation),
            "history": state.history,
            "window": state.window,
            "seconds": state.seconds,
        }
        (tmp / "state.json").write_text(json.dumps(fields))
        facts = {"kind": "checkpoint", "step": state.step, "identity": dict(identity)}
        artifacts.publish(tmp, final, facts, replace=True)
    if mirror is not None:
        mirror.send(final)
    for old in list_checkpoints(folder)[NUM_KEPT:]:
        if mirror is None or not mirror.needs(old):
            artifacts.discard(old)
    return final


def read_newest(folder: Path, identity: Mapping[str, Any], mirror: Mirror | None = None) -> TrainState | None:
    """The newest checkpoint that verifies, here or in the store; None where there is none.

    One that is torn is named in a warning, removed, and the one before is taken. UsageError where a whole one belongs
    to another training; StoreError where there is none here and the store does not say what it has.
    """
    artifacts.clear_staging(folder)
    here = [path.name for path in list_checkpoints(folder)]
    there = _in_store(mirror, here)
    for name in sorted({*here, *there}, reverse=True):
        path = folder / name
        if name in here and (state := _read(path, identity)) is not None:
            return state
        if mirror is not None and name in there:
            try:
                mirror.fetch(name, path)
            except (ArtifactError, StoreError) as error:
                _passed_over(error)
            else:
                if (state := _read(path, identity)) is not None:
                    return state
    return None


def _in_store(mirror: Mirror | None, here: list[str]) -> list[str]:
    try:
        return mirror.list() if mirror is not None else []
    except StoreError as error:
        if not here:  # to begin again could throw away days
            raise
        log.warning("%s; only the checkpoints on this machine are looked at", error)
        return []


def _read(path: Path, identity: Mapping[str, Any]) -> TrainState | None:
    """A checkpoint, or None and a warning where it is damaged: then it is removed, or would pass for one of two."""
    try:
        manifest = artifacts.verify(path)
        check_identity(path, manifest.facts["identity"], identity)
        fields = json.loads((path / "state.json").read_text())
        return TrainState(
            step=manifest.facts["step"],
            weights=load_file(path / "weights.safetensors"),
            ema=load_file(path / "ema.safetensors"),
            train_state=load_file(path / "train_state.safetensors"),
            optimizers=load_file(path / "optimizers.safetensors"),
            best=load_file(path / "best.safetensors"),
            best_buffers=load_file(path / "best_buffers.safetensors"),
            validation=fields["validation"],
            history=fields["history"],
            window=fields["window"],
            seconds=fields["seconds"],
        )
    except OSError as error:
        _passed_over(error)  # and is left: another try may read it
    except (ArtifactError, SafetensorError, KeyError, ValueError) as error:
        _passed_over(error)
        artifacts.discard(path)
    return None


def _passed_over(error: Exception) -> None:
    log.warning("a checkpoint is damaged and was passed over (%s); going back to the one before", error)


def flattened(value: Any, key: str = "") -> dict[str, Any]:
    """{"train.steps": 100, …} for nested mappings."""
    if not isinstance(value, Mapping):
        return {key: value}
    parts = [flattened(v, f"{key}.{k}" if key else str(k)) for k, v in value.items()]
    return {k: v for part in parts for k, v in part.items()}


def check_identity(path: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """UsageError naming the first setting in which a checkpoint's training differs from this one."""
    theirs, ours = flattened(there), flattened(json.loads(json.dumps(here)))
    for key in sorted(theirs.keys() | ours.keys()):
        if theirs.get(key) != ours.get(key):
            raise UsageError(
                f"{path} is a checkpoint of another training: {key} is {theirs.get(key)!r} there and "
                f"{ours.get(key)!r} here; train in an empty folder, or remove {path.parent}"
            )


def all_finite(tensors: list[Tensor]) -> bool:
    """Whether every number is finite; one small reduction per tensor."""
    with torch.no_grad():
        return bool(torch.stack([t.isfinite().all() for t in tensors]).all()) if tensors else True
