"""The base of what reads files: a config that names them, and parts that are listed once in each process."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from genpipe.data import Part, Source


@dataclass(frozen=True)
class FileSource(Source):
    """A source that is its config. Sent to another process without its list of parts, which may be long."""

    config: Any

    @cached_property
    def parts(self) -> Sequence[Part]:
        return list(self.list_parts())

    @abstractmethod
    def list_parts(self) -> Iterable[Part]:
        """The parts, in order; DataError where there are none."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.config,)
