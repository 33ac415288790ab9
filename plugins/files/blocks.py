"""Cutting what is read into blocks of bounded size, and a source to its first examples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from genpipe.data import Array, Part, RawData, Source, read_whole
from genpipe.dataspec import DataSpec

BLOCK_BYTES = 8 * 2**20


def rows_in_block(shape: Sequence[int], dtype: Any) -> int:
    """How many examples of a shape go in a block."""
    return max(1, min(65_536, BLOCK_BYTES // max(1, math.prod(shape) * np.dtype(dtype).itemsize)))


def stacked(examples: Iterable[tuple[Array, int | None]], spec: DataSpec) -> Iterator[tuple[Array, Array | None]]:
    """Blocks of examples that come one by one, each of shape `spec.shape`, all with a label or none."""
    size = rows_in_block(spec.shape, spec.dtype)
    xs: list[Array] = []
    ys: list[int] = []
    for x, y in examples:
        xs.append(x)
        if y is not None:
            ys.append(y)
        if len(xs) == size:
            yield _block(xs, ys, spec)
            xs, ys = [], []
    if xs:
        yield _block(xs, ys, spec)


def _block(xs: list[Array], ys: list[int], spec: DataSpec) -> tuple[Array, Array | None]:
    return np.stack(xs).astype(spec.dtype, copy=False), np.array(ys, dtype=np.int64) if ys else None


def first(source: Source, limit: int | None) -> Source | RawData:
    """The source itself, or where there is a limit its first so many examples, in memory."""
    return source if limit is None else read_whole(_First(source, limit))


class _First(Source):
    """The parts of a source that hold its first examples, and of these no more than the limit."""

    def __init__(self, source: Source, limit: int) -> None:
        self.source, self.limit = source, limit
        self._parts: list[Part] = []
        self._surveys: list[dict[str, Any]] = []
        left = limit
        for part in source.parts:
            survey = source.survey(part)
            self._parts.append(part)
            self._surveys.append(survey | {"num": min(left, survey["num"])})
            left -= survey["num"]
            if left <= 0:
                break

    @property
    def parts(self) -> Sequence[Part]:
        return self._parts

    def survey(self, part: Part) -> dict[str, Any]:
        return self._surveys[self._parts.index(part)]

    def spec(self, surveys: Sequence[dict[str, Any]]) -> DataSpec:
        return self.source.spec(surveys)

    def read(self, part: Part, spec: DataSpec) -> Iterator[tuple[Array, Array | None]]:
        left = self.survey(part)["num"]
        for x, y in self.source.read(part, spec):
            if left <= 0:
                return
            yield x[:left], None if y is None else y[:left]
            left -= len(x)
