"""An array that lies in shards: what is asked for is read, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from genpipe.data.raw import Array
from genpipe.data.shard import MAGIC, Shard
from genpipe.errors import ArtifactError

LOADED_BYTES = 256 << 20
"""An array up to this size is read whole at its first use and then kept; of a larger one nothing is kept."""
MAX_OPEN = 256


class ShardedArray:
    """A column of a split: (N, *shape), read-only. Slices and arrays of integers give NumPy arrays of their own.

    Reads with pread rather than through a memory map: random access to all of a map fills the process's resident set
    with the file, and a file that was cut short would kill the process where a read only fails. Safe to use from
    several threads; crosses to other processes as its addresses.
    """

    def __init__(
        self, folder: Path, shards: Sequence[Shard], column: Literal["x", "y"], shape: tuple[int, ...], dtype: str
    ) -> None:
        self.folder, self.shards, self.column = folder, tuple(shards), column
        self.dtype = np.dtype(dtype)
        self._starts = np.cumsum([0, *(shard.num for shard in self.shards)])
        self.shape = (int(self._starts[-1]), *shape)
        self.width = self.dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        offsets = [shard.x_offset if column == "x" else shard.y_offset for shard in self.shards]
        self._offsets = np.array(offsets, dtype=np.int64)
        self._open: dict[int, _OpenShard] = {}
        self._whole: Array | None = None

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return len(self) * self.width

    @property
    def is_loaded(self) -> bool:
        """Whether it is small enough to be kept in memory once it was used."""
        return self.nbytes <= LOADED_BYTES

    def __repr__(self) -> str:
        return f"ShardedArray({self.column}, shape={self.shape}, dtype={self.dtype}, shards={len(self.shards)})"

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("an array in shards cannot be had without a copy")
        whole = self._loaded() if self.is_loaded else self._range(0, len(self))
        return np.array(whole, dtype=dtype) if copy or (dtype is not None and dtype != whole.dtype) else whole

    def __getitem__(self, index: Any) -> Array:
        if self.is_loaded:
            part = self._loaded()[index]
            return part.copy() if isinstance(part, np.ndarray) and part.base is not None else part
        if isinstance(index, tuple):
            rows, *rest = index
            if isinstance(rows, int | np.integer):
                return self[rows][tuple(rest)]
            return self[rows][(slice(None), *rest)]
        if isinstance(index, int | np.integer):
            return self.read(np.array([index]))[0]
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return self._range(start, max(start, stop))
            return self.read(np.arange(start, stop, step))
        indices = np.asarray(index)
        return self.read(np.flatnonzero(indices) if indices.dtype == bool else indices)

    def read(self, indices: npt.NDArray[np.integer[Any]]) -> Array:
        """(n, *shape), the rows at `indices` (n,), in their order; IndexError where one is out of range."""
        num = len(self)
        low, high = (int(indices.min()), int(indices.max())) if len(indices) else (0, -1)
        if low < -num or high >= num:
            raise IndexError(f"index {low if low < -num else high} is out of bounds for {num} examples")
        rows = np.where(indices < 0, indices + num, indices) if low < 0 else indices
        out = np.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        memory, width = _bytes_of(out), self.width
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        places = self._offsets[shards] + (rows - self._starts[shards]) * width
        wanted = [(self._shard(shard), place) for shard, place in zip(shards.tolist(), places.tolist(), strict=True)]
        for shard, place in wanted:
            shard.announce(place, width)
        for row, (shard, place) in enumerate(wanted):
            shard.read_into(memory[row * width : (row + 1) * width], place)
        return out

    def _range(self, start: int, stop: int) -> Array:
        out = np.empty((stop - start, *self.shape[1:]), dtype=self.dtype)
        memory, width, at = _bytes_of(out), self.width, 0
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        for shard in range(first, len(self.shards)):
            if start >= stop:
                break
            num = min(stop, int(self._starts[shard + 1])) - start
            place = int(self._offsets[shard]) + (start - int(self._starts[shard])) * width
            self._shard(shard).read_into(memory[at : at + num * width], place)
            start, at = start + num, at + num * width
        return out

    def _loaded(self) -> Array:
        if self._whole is None:
            whole = self._range(0, len(self))
            whole.flags.writeable = False  # it is given to many
            self._whole = whole
        return self._whole

    def _shard(self, number: int) -> _OpenShard:
        opened = self._open.get(number)
        if opened is None:
            opened = _OpenShard(self.folder, self.shards[number])
            if len(self._open) >= MAX_OPEN:
                # Dropped, not closed: another thread may be reading from it, and the last to hold it closes it.
                self._open = {}
            self._open[number] = opened
        return opened

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardedArray, (self.folder, self.shards, self.column, self.shape[1:], self.dtype.name)


def _bytes_of(array: Array) -> memoryview:
    """The array's own memory, to be read into."""
    return array.reshape(-1).view(np.uint8).data


class _OpenShard:
    """An open file that is closed when nobody holds it any more."""

    def __init__(self, folder: Path, shard: Shard) -> None:
        self._folder, self._shard = folder, shard
        check_size(folder, shard)
        self._descriptor = os.open(folder / shard.file, os.O_RDONLY | os.O_CLOEXEC)
        if os.pread(self._descriptor, len(MAGIC), shard.bytes - len(MAGIC)) != MAGIC:
            raise ArtifactError(f"data artifact {folder}: {shard.file} was altered: it does not end as a Parquet file")

    def announce(self, place: int, nbytes: int) -> None:
        """Tells the system what will be read, so that a disk works on all rows of a batch at once."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, place, nbytes, os.POSIX_FADV_WILLNEED)

    def read_into(self, memory: memoryview, place: int) -> None:
        given = os.preadv(self._descriptor, [memory], place)
        while given < len(memory):  # a read of gigabytes comes in pieces
            more = os.preadv(self._descriptor, [memory[given:]], place + given)
            if more == 0:
                check_size(self._folder, self._shard)
                raise ArtifactError(f"data artifact {self._folder}: {self._shard.file} ends early")
            given += more

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


def check_size(folder: Path, shard: Shard) -> None:
    """ArtifactError where the file of a shard is missing or has another size than when it was written."""
    try:
        size = (folder / shard.file).stat().st_size
    except FileNotFoundError:
        raise ArtifactError(
            f"data artifact {folder}: the shard {shard.file} ({shard.num} examples) is missing"
        ) from None
    if size != shard.bytes:
        raise ArtifactError(
            f"data artifact {folder}: the shard {shard.file} has {size} bytes, expected {shard.bytes} "
            f"({shard.num} examples): truncated or altered"
        )
