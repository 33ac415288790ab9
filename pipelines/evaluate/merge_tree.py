"""Merging states in a tree whose shape is fixed, whichever comes first."""

from __future__ import annotations

from collections.abc import Callable

from genpipe.evaluation import State


class MergeTree:
    """The states of shards 0 … num − 1 as one: bitwise the same in whatever order they come.

    Neighbours are merged as soon as both are there, so few are held at once even where one is long in coming.
    """

    def __init__(self, num: int, merge: Callable[[State, State], State]) -> None:
        self._widths = [num]  # nodes of each level, leaves first
        while self._widths[-1] > 1:
            self._widths.append((self._widths[-1] + 1) // 2)
        self._merge = merge
        self._nodes: dict[tuple[int, int], State] = {}

    def add(self, shard: int, state: State) -> None:
        level, at = 0, shard
        while level < len(self._widths) - 1:
            other = at ^ 1
            if other < self._widths[level]:  # else it is the last of an odd number, and goes up alone
                if (level, other) not in self._nodes:
                    break
                pair = (self._nodes.pop((level, other)), state)
                state = self._merge(*(pair if other < at else reversed(pair)))
            level, at = level + 1, at // 2
        self._nodes[level, at] = state

    @property
    def num_held(self) -> int:
        return len(self._nodes)

    def whole(self) -> State:
        """The state of all, once they have come."""
        top = (len(self._widths) - 1, 0)
        assert set(self._nodes) == {top}, "some shards have not come"
        return self._nodes[top]
