"""IDX files: a magic number with type and rank, the sizes, then the values, all big-endian (LeCun, MNIST's page)."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from genpipe.data import Array, Part, RawData, Source
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.plugins.files.blocks import first, rows_in_block
from genpipe.plugins.files.config import IdxConfig
from genpipe.plugins.files.labels import num_classes_of
from genpipe.plugins.files.paths import digest, find, opened, stem
from genpipe.plugins.files.source import FileSource

UINT8 = 0x08
MAX_IMAGE_BYTES = 2**28
SUFFIXES = ("-ubyte", "-ubyte.gz", ".idx", ".idx.gz", ".idx3", ".idx3.gz")


@dataclass(frozen=True)
class Idx:
    """An IDX file of bytes, opened for its values."""

    address: str
    stream: IO[bytes]
    shape: tuple[int, ...]

    def rows(self, size: int) -> Iterator[Array]:
        """The array in blocks of `size` rows, uint8; DataError where the file is longer or shorter than its header says."""
        for start in range(0, self.shape[0], size):
            shape = (min(size, self.shape[0] - start), *self.shape[1:])
            content = self.stream.read(math.prod(shape))
            if len(content) < math.prod(shape):
                self._torn(start * math.prod(shape[1:]) + len(content))
            yield np.frombuffer(content, dtype=np.uint8).reshape(shape)
        self._end(math.prod(self.shape))

    def check_length(self) -> None:
        """DataError where a plain file is longer or shorter than its header says; of a packed one only reading tells."""
        if not isinstance(self.stream, gzip.GzipFile):
            start = self.stream.tell()
            self._end(0, self.stream.seek(0, 2) - start)

    def _end(self, given: int, more: int | None = None) -> None:
        given += len(self.stream.read(2**20)) if more is None else more
        if given != math.prod(self.shape):
            self._torn(given)

    def _torn(self, given: int) -> None:
        sizes = " × ".join(map(str, self.shape))
        raise DataError(f"{self.address} holds {given} values, its header says {sizes}: truncated?")


@contextmanager
def opened_idx(address: str, rank: int) -> Iterator[Idx]:
    """The uint8 array of `rank` dimensions in an IDX file, plain or gzipped; DataError where it is not whole."""
    with opened(address) as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream = gzip.GzipFile(fileobj=file) if packed else file
        try:
            yield _header(address, stream, rank)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{address} is damaged: {error}") from error


def _header(address: str, stream: Any, rank: int) -> Idx:
    header = stream.read(4 + 4 * rank)
    if len(header) < 4 + 4 * rank:
        raise DataError(f"{address} has {len(header)} bytes, too few for an IDX file")
    zeros, kind, given_rank = struct.unpack(">HBB", header[:4])
    if zeros != 0 or kind != UINT8 or given_rank != rank:
        raise DataError(
            f"{address} begins with 0x{header[:4].hex()}, expected 0x0000{UINT8:02x}{rank:02x}: "
            f"IDX bytes in {rank} dimensions"
        )
    shape = struct.unpack(f">{rank}I", header[4:])
    if math.prod(shape[1:]) > MAX_IMAGE_BYTES:
        raise DataError(f"{address}: its header says images of {' × '.join(map(str, shape[1:]))}, which none is")
    return Idx(address, stream, shape)


@dataclass(frozen=True)
class Pairs(FileSource):
    """One part per file of images, with its file of labels. x: (N, 1, H, W) uint8, 256 levels; y: (N,) or None."""

    config: IdxConfig

    def list_parts(self) -> Iterable[Part]:
        images = find(self.config.images, SUFFIXES)
        if self.config.labels is None:
            return (Part(file.address) for file in images)
        labels = find(self.config.labels, SUFFIXES)
        if len(labels) != len(images):
            raise DataError(
                f"{self.config.labels} is {len(labels)} files, {self.config.images} is {len(images)}: expected as many"
            )
        return (Part(x.address, y.address) for x, y in zip(images, labels, strict=True))

    def survey(self, part: Part) -> dict[str, Any]:
        with opened_idx(part.address, 3) as images:
            num, height, width = images.shape
            images.check_length()
        survey: dict[str, Any] = {"num": num, "size": [height, width], "where": part.address}
        if part.detail is not None:
            y = _labels(part.detail)
            if len(y) != num:
                raise DataError(f"{part.detail} has {len(y)} labels, {part.address} has {num} images")
            survey["max_label"] = int(y.max()) if num else -1
        return survey

    def spec(self, surveys: Sequence[dict[str, Any]]) -> DataSpec:
        num_classes = None if self.config.labels is None else num_classes_of(surveys, str(self.config.labels))
        return image_spec(stem(self.config.images), surveys, num_classes)

    def read(self, part: Part, spec: DataSpec) -> Iterator[tuple[Array, Array | None]]:
        y = None if part.detail is None else _labels(part.detail).astype(np.int64)
        start = 0
        with opened_idx(part.address, 3) as images:
            for block in images.rows(rows_in_block(spec.shape, np.uint8)):
                yield block[:, None], None if y is None else y[start : start + len(block)]
                start += len(block)


def image_spec(name: str, surveys: Sequence[dict[str, Any]], num_classes: int | None) -> DataSpec:
    """The spec of grey images of 256 levels; DataError where the files' images are of unequal size."""
    height, width = surveys[0]["size"]
    for survey in surveys:
        if survey["size"] != surveys[0]["size"]:
            raise DataError(
                f"{survey['where']} has images of {survey['size'][0]} × {survey['size'][1]}, expected "
                f"{height} × {width} as in {surveys[0]['where']}"
            )
    return DataSpec(name=name, event="image", shape=(1, height, width), levels=256, num_classes=num_classes)


def _labels(address: str) -> Array:
    with opened_idx(address, 1) as labels:
        return np.concatenate([np.empty(0, np.uint8), *labels.rows(rows_in_block((), np.uint8))])


def build(config: IdxConfig, seed: int) -> Source | RawData:
    """Pairs of files, or their first examples where there is a limit. The seed has no part."""
    return first(Pairs(config), config.limit)


def fingerprint(config: IdxConfig) -> str:
    labels = find(config.labels, SUFFIXES) if config.labels else []
    return digest(stem(config.images), find(config.images, SUFFIXES), labels)
