"""One comparison with a peer: the same work by us and by the package's own code."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Numbers = Mapping[str, float]
Work = Callable[[], Numbers | None]
"""Does the work once, and gives numbers to show beside its time: parameters, a loss, a distance."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """The same network, batch and data on both sides.

    name: what is compared, the family first. peer: the package. ours, theirs: make everything ready and give the work
    itself, which alone is timed; fresh in every round, so that both train from the start. amount: how many `unit`
    ("steps", "samples") one call of the work does. goal: how many times as fast as the peer ours has to be.
    """

    name: str
    peer: str
    ours: Callable[[], Work]
    theirs: Callable[[], Work]
    amount: int
    unit: str
    goal: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """Medians over the rounds, in seconds of a call, by side ("ours", "theirs"); numbers: of the last round."""

    case: str
    peer: str
    amount: int
    unit: str
    goal: float
    seconds: dict[str, float]
    processor_seconds: dict[str, float]
    numbers: dict[str, dict[str, float]]

    @property
    def ratio(self) -> float:
        """How many times as fast as the peer ours is."""
        return self.seconds["theirs"] / self.seconds["ours"]

    @property
    def processor_ratio(self) -> float:
        return self.processor_seconds["theirs"] / self.processor_seconds["ours"]

    @property
    def falls_short(self) -> bool:
        return not math.isfinite(self.ratio) or self.ratio < self.goal

    def rate(self, side: str) -> float:
        """Steps or samples in a second."""
        return self.amount / self.seconds[side]
