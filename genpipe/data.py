"""Examples at rest and on their way to a model: splits as memory-mapped arrays, batches in a keyed global order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genpipe.dataspec import DataSpec
from genpipe.errors import ArtifactError, DataError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class RawData:
    """What a data set's loader gives: all examples, in the data's own units, before splitting.

    x: (N, *spec.shape); y: (N,) int64 or None.
    """

    spec: DataSpec
    x: Array
    y: Array | None = None

    def checked(self) -> RawData:
        """Itself, once shapes, types, ranges and finiteness hold; DataError says what does not."""
        where = f"data set '{self.spec.name}'"
        if self.x.shape[1:] != self.spec.shape:
            raise DataError(
                f"{where}: x has shape {self.x.shape}, expected (N, {', '.join(map(str, self.spec.shape))})"
            )
        if len(self.x) < 2:
            raise DataError(f"{where}: {len(self.x)} examples, expected at least 2")
        if self.x.dtype.kind not in "uif":
            raise DataError(f"{where}: x has type {self.x.dtype}, expected numbers")
        if self.x.dtype.kind == "f":
            bad = ~np.isfinite(self.x.reshape(len(self.x), -1)).all(axis=1)
            if bad.any():
                raise DataError(
                    f"{where}: {int(bad.sum())} of {len(self.x)} examples have NaN or infinity, first at {int(bad.argmax())}"
                )
        if self.spec.levels is not None:
            low, high = self.x.min(), self.x.max()
            if low < 0 or high >= self.spec.levels:
                raise DataError(f"{where}: values in [{low}, {high}], expected 0 … {self.spec.levels - 1}")
            if self.x.dtype.kind == "f" and (self.x != np.floor(self.x)).any():
                raise DataError(f"{where}: values are not whole, but levels is {self.spec.levels}")
        elif self.spec.low is not None and self.spec.high is not None:
            low, high = self.x.min(), self.x.max()
            if low < self.spec.low or high > self.spec.high:
                raise DataError(f"{where}: values in [{low}, {high}], expected [{self.spec.low}, {self.spec.high}]")
        if self.y is not None:
            if self.y.shape != (len(self.x),) or self.y.dtype.kind not in "ui":
                raise DataError(
                    f"{where}: y has shape {self.y.shape} and type {self.y.dtype}, expected ({len(self.x)},) integers"
                )
            if self.spec.num_classes is not None and (self.y.min() < 0 or self.y.max() >= self.spec.num_classes):
                raise DataError(
                    f"{where}: labels in [{self.y.min()}, {self.y.max()}], expected 0 … {self.spec.num_classes - 1}"
                )
        return self


@dataclass(frozen=True)
class Split:
    """One split of a data artifact. x: (N, *event), read-only memory map; y: (N,) or None."""

    spec: DataSpec
    name: str
    x: Array
    y: Array | None

    def __len__(self) -> int:
        return len(self.x)


def split_by_hash(num_examples: int, fractions: dict[str, float], seed: int) -> dict[str, npt.NDArray[np.int64]]:
    """Indices of each split. Example i belongs where the hash of (seed, i) falls, whatever the worker count.

    Ranks of the hashes are cut, so that sizes are exact: round(fraction · N) each, the rest is "train".
    """
    order = _hash_order(num_examples, seed)
    splits, start = {}, 0
    for name, fraction in fractions.items():
        count = round(fraction * num_examples)
        splits[name] = np.sort(order[start : start + count])
        start += count
    splits["train"] = np.sort(order[start:])
    return splits


def subset_by_hash(num_examples: int, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Indices of `count` of the examples, sorted. The first ones would be no fair sample: files have an order."""
    return np.sort(_hash_order(num_examples, seed)[:count])


def _hash_order(num_examples: int, seed: int) -> npt.NDArray[np.int64]:
    digests = [hashlib.blake2b(f"{seed}:{i}".encode(), digest_size=8).digest() for i in range(num_examples)]
    return np.argsort(np.array([int.from_bytes(d, "big") for d in digests], dtype=np.uint64), kind="stable")


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


class Order:
    """The order of training examples: an endless stream cut into epochs, each a permutation keyed by (seed, epoch).

    Position p of the stream is example `order[p % n]` of epoch p // n. So a batch is named by its first position
    alone: exact to resume, and the same for any number of workers.
    """

    def __init__(self, num_examples: int, seed: int) -> None:
        self.num_examples, self.seed = num_examples, seed
        self._epoch, self._permutation = -1, np.empty(0, dtype=np.int64)

    def _of_epoch(self, epoch: int) -> npt.NDArray[np.int64]:
        if epoch != self._epoch:
            bits = np.random.Philox(key=[self.seed, epoch])  # a function of (seed, epoch), like genpipe.noise
            self._permutation = np.random.Generator(bits).permutation(self.num_examples)
            self._epoch = epoch
        return self._permutation

    def indices(self, position: int, count: int) -> npt.NDArray[np.int64]:
        """The examples at stream positions `position … position + count − 1`, across epoch ends."""
        parts = []
        while count > 0:
            epoch, offset = divmod(position, self.num_examples)
            part = self._of_epoch(epoch)[offset : offset + count]
            parts.append(part)
            position, count = position + len(part), count - len(part)
        return np.concatenate(parts) if len(parts) != 1 else parts[0]


def in_order(split: Split, batch_size: int) -> Iterator[tuple[int, Array, Array | None]]:
    """(first index, x, y) over a split, once, in its own order; for closed-form fits and evaluation."""
    for start in range(0, len(split), batch_size):
        stop = start + batch_size
        yield start, np.array(split.x[start:stop]), None if split.y is None else split.y[start:stop]
