"""Data sets that need not fit in memory: parts that are surveyed, then read block by block, by any process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genpipe.data.raw import Array, RawData
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError


@dataclass(frozen=True)
class Part:
    """A piece of a source that one process reads from its start: a file, a row group, a range of rows.

    address: where it is, as people are told of it. detail: what else `survey` and `read` need, as JSON values.
    """

    address: str
    detail: Any = None

    def __str__(self) -> str:
        return self.address


class Source(ABC):
    """What a data set's builder gives in place of RawData where the examples may not fit in memory.

    Picklable, and so plain: files are opened only in `survey` and `read`, which other processes call. Examples are
    counted through all parts in their order; that number, and not the part, decides in which split an example goes.
    Mistakes are DataErrors that name the part's address and, where there is one, the row.
    """

    @property
    @abstractmethod
    def parts(self) -> Sequence[Part]:
        """All parts, in order; cheap to list."""

    @abstractmethod
    def survey(self, part: Part) -> dict[str, Any]:
        """{"num": examples in the part, …} and whatever `spec` needs, as JSON values. Once for each part."""

    @abstractmethod
    def spec(self, surveys: Sequence[dict[str, Any]]) -> DataSpec:
        """What the examples are, by the surveys of all parts, in order; DataError where they do not agree."""

    @abstractmethod
    def read(self, part: Part, spec: DataSpec) -> Iterator[tuple[Array, Array | None]]:
        """The part's examples in order, in blocks of bounded size: x (n, *spec.shape), y (n,) integers or None."""


def read_whole(source: Source) -> RawData:
    """All of a source in memory, checked and of the spec's type; for small ones."""
    surveys = [source.survey(part) for part in source.parts]
    spec = source.spec(surveys)
    x: list[Array] = [np.empty((0, *spec.shape), dtype=spec.dtype)]
    y: list[Array | None] = []
    for part, survey in zip(source.parts, surveys, strict=True):
        before = sum(map(len, x))
        for block, labels in source.read(part, spec):
            x.append(block)
            y.append(labels)
        given = sum(map(len, x)) - before
        if given != survey["num"]:
            raise DataError(f"{part.address} gave {given} examples, its survey said {survey['num']}")
    labelled = [block for block in y if block is not None]
    data = RawData(spec, np.concatenate(x), np.concatenate(labelled) if labelled else None).checked()
    return RawData(spec, data.x.astype(spec.dtype, copy=False), data.y)


class InMemory(Source):
    """RawData as a source of one part."""

    def __init__(self, raw: RawData) -> None:
        self.raw = raw

    @property
    def parts(self) -> Sequence[Part]:
        return [Part(f"data set '{self.raw.spec.name}'")]

    def survey(self, part: Part) -> dict[str, Any]:
        return {"num": len(self.raw.x)}

    def spec(self, surveys: Sequence[dict[str, Any]]) -> DataSpec:
        return self.raw.spec

    def read(self, part: Part, spec: DataSpec) -> Iterator[tuple[Array, Array | None]]:
        yield self.raw.x, self.raw.y
