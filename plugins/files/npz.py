"""NumPy arrays, alone or in archives, read row by row. Object arrays are refused: reading one would run code."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from genpipe.data import Array, Part, RawData, Source
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError, nearest
from genpipe.plugins.files.blocks import first, rows_in_block
from genpipe.plugins.files.config import DEFAULT_NAME, NpzConfig
from genpipe.plugins.files.labels import check_labels, num_classes_of
from genpipe.plugins.files.paths import digest, find, opened, stem
from genpipe.plugins.files.source import FileSource
from genpipe.plugins.files.suffixes import ARRAYS
from genpipe.plugins.files.values import spec_of


@dataclass(frozen=True)
class Member:
    """An array of an archive, opened for its rows."""

    stream: IO[bytes]
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]

    def rows(self, size: int) -> Iterator[Array]:
        """The array in blocks of `size` rows; EOFError where it ends before its shape says."""
        if self.fortran_order:
            flat = np.frombuffer(self._exactly(math.prod(self.shape)), self.dtype)
            whole = flat.reshape(self.shape[::-1]).transpose()
            yield from (whole[start : start + size] for start in range(0, len(whole), size))
            return
        for start in range(0, self.shape[0], size):
            shape = (min(size, self.shape[0] - start), *self.shape[1:])
            yield np.frombuffer(self._exactly(math.prod(shape)), self.dtype).reshape(shape)

    def _exactly(self, count: int) -> bytes:
        content = self.stream.read(count * self.dtype.itemsize)
        if len(content) < count * self.dtype.itemsize:
            raise EOFError("an array ends early")
        return content


class SingleArray:
    """A file of one array (.npy), as an archive that holds it by the name `x`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def namelist(self) -> list[str]:
        return [f"{DEFAULT_NAME}.npy"]

    def open(self, entry: str) -> AbstractContextManager[IO[bytes]]:
        self._file.seek(0)
        return nullcontext(self._file)


Zipped = zipfile.ZipFile | SingleArray


@contextmanager
def archive(address: str) -> Iterator[Zipped]:
    """The arrays at an address; DataError where there are none or the file is damaged, also while it is read."""
    damaged = f"{address} is no NumPy archive, or is damaged"
    with opened(address) as file:
        try:
            if file.read(6) == b"\x93NUMPY":
                yield SingleArray(file)
                return
            if not zipfile.is_zipfile(file):
                raise DataError(damaged)
            with zipfile.ZipFile(file) as zipped:
                yield zipped
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError, RuntimeError, ValueError) as error:
            raise DataError(f"{damaged}: {error}") from error


@contextmanager
def member(zipped: Zipped, address: str, name: str, besides: str | None = None) -> Iterator[Member]:
    """The array `name`, or by the name that is the default the only one but `besides`, whatever it is called.

    DataError where it is not there or holds Python objects.
    """
    names = [entry.removesuffix(".npy") for entry in zipped.namelist()]
    others = [other for other in names if other != besides]
    if name == DEFAULT_NAME and len(others) == 1:
        name = others[0]
    if name not in names:
        raise DataError(f"{address} has no array '{name}'{nearest(name, names)}")
    with zipped.open(zipped.namelist()[names.index(name)]) as stream:
        version = npy.read_magic(stream)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran_order, dtype = header(stream)
        if dtype.hasobject:
            raise DataError(f"{address}: '{name}' holds Python objects, which are never read; save numbers")
        yield Member(stream, shape, fortran_order, dtype)


@dataclass(frozen=True)
class Archives(FileSource):
    """One part per archive. x: (N, D), or (N, C, H, W) with a channel added to (N, H, W); y: (N,) or None."""

    config: NpzConfig

    def list_parts(self) -> Iterable[Part]:
        return (Part(file.address) for file in find(self.config.path, ARRAYS))

    def survey(self, part: Part) -> dict[str, Any]:
        where = f"{part.address}: '{self.config.x}'"
        with archive(part.address) as zipped:
            with member(zipped, part.address, self.config.x, self.config.y) as x:
                if x.dtype.kind not in "uif":
                    raise DataError(f"{where} has type {x.dtype}, expected numbers")
                if len(x.shape) not in (2, 3, 4):
                    raise DataError(f"{where} has shape {x.shape}, expected (N, D), (N, H, W) or (N, C, H, W)")
                num = x.shape[0]
                survey = {"num": num, "shape": self._event(x.shape), "dtype": x.dtype.str, "where": where}
            if self.config.y is not None:
                survey["max_label"] = self._largest_label(zipped, part.address, self.config.y, num)
        return survey

    def _event(self, shape: tuple[int, ...]) -> list[int]:
        if len(shape) == 3:
            return [1, *shape[1:]]
        if len(shape) == 4 and self.config.channels_last:
            return [shape[3], *shape[1:3]]
        return list(shape[1:])

    def _largest_label(self, zipped: Zipped, address: str, name: str, num: int) -> int:
        with member(zipped, address, name) as y:
            if y.dtype.kind not in "ui" or y.shape != (num,):
                raise DataError(
                    f"{address}: '{name}' has shape {y.shape} and type {y.dtype}, expected ({num},) integers"
                )
            largest = -1
            for block in y.rows(rows_in_block((), y.dtype)):
                check_labels(int(block.min()), f"{address}: '{name}'")
                largest = max(largest, int(block.max()))
        return largest

    def spec(self, surveys: Sequence[dict[str, Any]]) -> DataSpec:
        alike = surveys[0]
        for survey in surveys:
            for what in ("shape", "dtype"):
                if survey[what] != alike[what]:
                    raise DataError(
                        f"{survey['where']} has examples of {what} {survey[what]}, expected {alike[what]} as in "
                        f"{alike['where']}"
                    )
        return spec_of(
            stem(self.config.path),
            tuple(alike["shape"]),
            np.dtype(alike["dtype"]),
            self.config,
            alike["where"],
            num_classes=None if self.config.y is None else num_classes_of(surveys, f"{self.config.path}: labels"),
        )

    def read(self, part: Part, spec: DataSpec) -> Iterator[tuple[Array, Array | None]]:
        # A member at a time: two streams of one archive would take turns at its file.
        labels: Array | None = None
        with archive(part.address) as zipped:
            if self.config.y is not None:
                with member(zipped, part.address, self.config.y) as y:
                    blocks = [block.astype(np.int64) for block in y.rows(rows_in_block((), np.int64))]
                    labels = np.concatenate([np.empty(0, np.int64), *blocks])
            with member(zipped, part.address, self.config.x, self.config.y) as x:
                start = 0
                for block in x.rows(rows_in_block(spec.shape, np.float64)):
                    if self.config.channels_last and block.ndim == 4:
                        block = np.moveaxis(block, 3, 1)
                    block = block.reshape(len(block), *spec.shape)
                    yield block, None if labels is None else labels[start : start + len(block)]
                    start += len(block)


def build(config: NpzConfig, seed: int) -> Source | RawData:
    """Archives, or their first examples where there is a limit. The seed has no part."""
    return first(Archives(config), config.limit)


def fingerprint(config: NpzConfig) -> str:
    return digest(stem(config.path), find(config.path, ARRAYS))
