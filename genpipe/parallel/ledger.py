"""Who has which item: the bookkeeping of shared work, without a process in sight."""

from __future__ import annotations

import statistics
from collections import Counter, deque
from collections.abc import Hashable, Sequence
from typing import Any, Generic, TypeVar

from genpipe.errors import GenpipeError

W = TypeVar("W", bound=Hashable)  # a worker

DEPTH = 2  # items that a worker holds: one in work, one that hides the way there
MAX_LOSSES = 4  # workers that an item may take with it
SLOW_FACTOR = 3.0  # times the median item, and at least
SLOW_SECONDS = 1.0


class Ledger(Generic[W]):
    """Hands positions of `items` to workers, any hashable values, until each has been done once.

    Times are in seconds of a clock that the caller reads.
    """

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items
        self._waiting = deque(range(len(items)))
        self._unfinished = set(self._waiting)
        self._held: dict[W, list[int]] = {}  # in the order given; the first is in work
        self._since: dict[W, float] = {}  # when the one in work became that
        self._losses: Counter[int] = Counter()
        self._seconds: list[float] = []

    @property
    def num_unfinished(self) -> int:
        return len(self._unfinished)

    def held_by(self, worker: W) -> list[int]:
        return list(self._held.get(worker, ()))

    def next_for(self, worker: W, now: float) -> int | None:
        """The position that a worker should be given, None where there is none or it has enough."""
        held = self._held.setdefault(worker, [])
        if len(held) >= DEPTH:
            return None
        position = self._waiting.popleft() if self._waiting else None
        if position is None and not held:
            position = self._copy(now)
        if position is None:
            return None
        if not held:
            self._since[worker] = now
        held.append(position)
        return position

    def _copy(self, now: float) -> int | None:
        """What an idle worker had better do as well: an item that has not begun elsewhere, or one that takes long."""
        copies = Counter(position for held in self._held.values() for position in held)
        alone = [(worker, held) for worker, held in self._held.items() if held]
        for _, held in alone:
            for position in held[1:]:
                if copies[position] == 1 and position in self._unfinished:
                    return position
        slow = [
            (self._since[worker], held[0])
            for worker, held in alone
            if copies[held[0]] == 1 and held[0] in self._unfinished and self.is_slow(worker, now)
        ]
        return min(slow)[1] if slow else None

    def is_slow(self, worker: W, now: float) -> bool:
        """Whether its item takes far longer than others did."""
        if not self._held.get(worker) or not self._seconds:
            return False
        return now - self._since[worker] > max(SLOW_FACTOR * statistics.median(self._seconds), SLOW_SECONDS)

    def done(self, worker: W, position: int, now: float, seconds: float) -> bool:
        """Takes an answer; False where another worker's came first."""
        self._held[worker].remove(position)
        self._since[worker] = now
        if position not in self._unfinished:
            return False
        self._unfinished.remove(position)
        self._seconds.append(seconds)
        return True

    def lost(self, worker: W, reason: str) -> None:
        """A worker died: others get what it held. GenpipeError where the item in work took too many with it."""
        held = self._held.pop(worker, [])
        elsewhere = {position for others in self._held.values() for position in others}
        if held and held[0] in self._unfinished:
            self._losses[held[0]] += 1
            if self._losses[held[0]] >= MAX_LOSSES:
                raise GenpipeError(f"{self._items[held[0]]} ended {MAX_LOSSES} workers, the last so: {reason}")
        for position in reversed(held):
            if position in self._unfinished and position not in elsewhere:
                self._waiting.appendleft(position)
