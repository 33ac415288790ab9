"""An array at rest that many processes' results fill, range by range, and that a killed step finds again."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genpipe.errors import GenpipeError
from genpipe.parallel.ranges import Range

Array = npt.NDArray[Any]


class ArrayFile:
    """`path`, an .npy file of known shape, and beside it a list of the ranges of the first axis that it holds.

    Made where there is none of this shape and type; else what an earlier attempt wrote is kept, as far as it is whole.
    One process writes. Memory does not grow with the array. GenpipeError where the disk has no room for all of it.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self.path, self._list = path, path.with_suffix(".ranges.jsonl")
        self.shape, self._dtype = shape, np.dtype(dtype)
        self._held: set[Range] = set()
        path.parent.mkdir(parents=True, exist_ok=True)
        if not self._is_there():
            self._make()
        else:
            self._held = self._whole()

    def missing(self, ranges: Iterable[Range]) -> list[Range]:
        """Those that it does not hold yet."""
        return [each for each in ranges if each not in self._held]

    def write(self, at: Range, rows: Array) -> None:
        """rows: (len(at), *shape[1:]), converted to the array's type."""
        rows = np.ascontiguousarray(rows, dtype=self._dtype)
        assert rows.shape == (len(at), *self.shape[1:]), (rows.shape, at)
        with self.path.open("r+b") as file:
            file.seek(self._offset() + at.start * self._row_bytes())
            file.write(rows.data if rows.size else b"")
        with self._list.open("a") as file:
            file.write(json.dumps([at.start, at.stop, _digest(rows)]) + "\n")
        self._held.add(at)

    def open(self) -> Array:
        """The array, memory-mapped; to write to it changes nobody else's."""
        return np.asarray(np.load(self.path, mmap_mode="c", allow_pickle=False))

    def move(self, to: Path) -> None:
        """Puts the finished array elsewhere."""
        try:
            self.path.replace(to)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.copyfile(self.path, to)
            self.path.unlink()
        self._list.unlink()

    def _is_there(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            found = self.open()
            return self._list.exists() and found.shape == self.shape and found.dtype == self._dtype
        return False

    def _make(self) -> None:
        self._list.unlink(missing_ok=True)
        with self.path.open("wb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": self.shape}
            np.lib.format.write_array_header_1_0(file, header)
            num_bytes = self.shape[0] * self._row_bytes()
            try:
                os.posix_fallocate(file.fileno(), 0, file.tell() + num_bytes)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    self.path.unlink()
                    raise GenpipeError(
                        f"{self.path.parent} has no room for the {num_bytes / 2**30:.1f} GiB of {self.path.name}: "
                        f"{error.strerror}"
                    ) from None
                file.truncate(file.tell() + num_bytes)
        self._list.touch()

    def _whole(self) -> set[Range]:
        """Ranges of the list whose bytes are what was written: of an array that outlived a crash, some may not be."""
        array, found = self.open(), set()
        for line in self._list.read_text().splitlines():
            with contextlib.suppress(ValueError):  # the last line may be torn
                start, stop, digest = json.loads(line)
                if _digest(array[start:stop]) == digest:
                    found.add(Range(start, stop))
        return found

    def _offset(self) -> int:
        return self.path.stat().st_size - self.shape[0] * self._row_bytes()

    def _row_bytes(self) -> int:
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self._dtype.itemsize


def _digest(rows: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows).data if rows.size else b"").hexdigest()
