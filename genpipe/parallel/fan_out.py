"""Independent items of work, done by one process or by many, with the same results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
        function that is then called with items; what it gave is kept for a next map of the same task and the same
        `shared` object. Results must be functions of (shared, item) alone: an item whose process was lost, or is
        slow, is done again by another. shared, items and results are plain data, arrays, tensors or objects made of
        these; str(item) names it where it fails. Results that are not taken hold up the work, so few are in memory
        at once. An item's error is raised here, where it is a GenpipeError with the same text and exit code.
        """


class InThisProcess:
    """One item after the other, here."""

    num_workers = 1

    def __init__(self) -> None:
        self._made: tuple[str, Any, Callable[[Any], Any]] | None = None

    def map(self, task: str, shared: Any, items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        if items:
            function = self._function(task, shared)
            yield from ((position, function(item)) for position, item in enumerate(items))

    def _function(self, task: str, shared: Any) -> Callable[[Any], Any]:
        if self._made is None or self._made[0] != task or self._made[1] is not shared:
            self._made = (task, shared, load_reference(task)(shared))
        return self._made[2]
