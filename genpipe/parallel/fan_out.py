"""Independent items of work, done by one process or by many, with the same results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from genpipe.components import load_reference


class FanOut(Protocol):
    """Does a step's independent items of work.

    num_workers: processes that share them; 1 is the step's own alone.
    """

    num_workers: int

    def map(self, task: str, shared: Any, items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """(position in `items`, result) for every item, each once, in the order in which they are done.

        task: "module:attribute" of a function that is called with `shared` once in each process, and gives the
        function that is then called with items. Results must be functions of (shared, item) alone: an item whose
        process was lost is done again by another. shared, items and results are plain data, arrays or tensors.
        """


class InThisProcess:
    """One item after the other, here."""

    num_workers = 1

    def map(self, task: str, shared: Any, items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        if items:
            function = load_reference(task)(shared)
            yield from ((position, function(item)) for position, item in enumerate(items))
