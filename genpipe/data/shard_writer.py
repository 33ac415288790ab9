"""Writes the examples of one split, as they come, in shards of a bounded size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from genpipe.data.raw import Array
from genpipe.data.shard import Shard, rows_per_shard, write_shard
from genpipe.dataspec import DataSpec


class ShardWriter:
    """Holds at most one shard in memory. Where shards end depends on how many examples came, not on their blocks.

    num: examples that will come, so that no more is set aside than they need. prefix: how the files' names begin.
    on_shard: called with the examples of every shard that is written.
    """

    def __init__(
        self,
        folder: Path,
        prefix: str,
        spec: DataSpec,
        num: int,
        *,
        labels: bool,
        on_shard: Callable[[Array, Array | None], None] = lambda x, y: None,
    ) -> None:
        self.shards: list[Shard] = []
        self._folder, self._prefix, self._on_shard = folder, prefix, on_shard
        dtype = np.dtype(spec.dtype)
        rows = min(num, rows_per_shard(spec.num_dimensions * dtype.itemsize))
        self._x = np.empty((rows, *spec.shape), dtype=dtype)
        self._y = np.empty(rows, dtype=np.int64) if labels else None
        self._filled = 0

    def write(self, x: Array, y: Array | None) -> None:
        """Takes x (n, *shape) and, where there are labels, y (n,)."""
        start = 0
        while start < len(x):
            count = min(len(x) - start, len(self._x) - self._filled)
            self._x[self._filled : self._filled + count] = x[start : start + count]
            if self._y is not None and y is not None:
                self._y[self._filled : self._filled + count] = y[start : start + count]
            self._filled, start = self._filled + count, start + count
            if self._filled == len(self._x):
                self.flush()

    def flush(self) -> None:
        """Writes what has been taken; to be called at the end."""
        if self._filled == 0:
            return
        x, y = self._x[: self._filled], None if self._y is None else self._y[: self._filled]
        self.shards.append(write_shard(self._folder, f"{self._prefix}-{len(self.shards):05d}.parquet", x, y))
        self._on_shard(x, y)
        self._filled = 0
