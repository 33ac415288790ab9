"""One split of a data artifact: written once, then read by every later step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genpipe.data.raw import Array
from genpipe.dataspec import DataSpec
from genpipe.errors import ArtifactError


@dataclass(frozen=True)
class Split:
    """One split of a data artifact. x: (N, *event), read-only memory map; y: (N,) or None."""

    spec: DataSpec
    name: str
    x: Array
    y: Array | None

    def __len__(self) -> int:
        return len(self.x)


def write_split(folder: Path, name: str, x: Array, y: Array | None) -> None:
    np.save(folder / f"{name}.x.npy", np.ascontiguousarray(x), allow_pickle=False)
    if y is not None:
        np.save(folder / f"{name}.y.npy", y.astype(np.int64), allow_pickle=False)


def open_split(folder: Path, name: str) -> Split:
    """The split `name` ("train", "test", "validation") of a data artifact, memory-mapped."""
    path = folder / f"{name}.x.npy"
    if not path.exists():
        raise ArtifactError(f"data artifact {folder} has no split '{name}'")
    spec = DataSpec.read(folder / "spec.json")
    labels = folder / f"{name}.y.npy"
    return Split(
        spec,
        name,
        np.load(path, mmap_mode="r", allow_pickle=False),
        np.load(labels, allow_pickle=False) if labels.exists() else None,
    )


def in_order(split: Split, batch_size: int) -> Iterator[tuple[int, Array, Array | None]]:
    """(first index, x, y) over a split, once, in its own order; for closed-form fits and evaluation."""
    for start in range(0, len(split), batch_size):
        stop = start + batch_size
        yield start, np.array(split.x[start:stop]), None if split.y is None else split.y[start:stop]
