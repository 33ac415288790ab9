"""One comparison: what runs beside what, and what it is meant to reach."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Call = Callable[[], object]
Compile = Callable[[Callable[..., object]], Callable[..., object]]


@dataclass(frozen=True)
class Case:
    """Sides of one comparison; each is a call without arguments that does the whole of the work.

    ours: genpipe's op. eager: what a good engineer writes with torch. compiled: makes torch.compile's side from the
    compiler (the whole of eager where None); False leaves it out. rivals: other sides by name: a vendor's library,
    another package, or `limit`, the least that the machine could take, such as a copy of the bytes that must move.
    goals: by side, how many times faster than it ours has to be (1 / 1.15: within 1.15 times of it); `compiled` means
    the faster of torch.compile's modes. memory_goal: the largest share of eager's peak memory that ours may take.
    memory_limit: the most bytes that ours may take above its inputs, whatever library allocates them. numbers: random
    numbers made per call; times are then shown per number. moved_bytes: the least that a call has to read and write,
    where memory bounds it: on a GPU it is to run at 85 % of a copy's rate. repeats: how often each side runs at least;
    fewer than seven, with fewer rounds of warming up, where a side takes many seconds.
    """

    name: str
    ours: Call
    eager: Call
    compiled: Callable[[Compile], Call] | bool | None = None
    rivals: Mapping[str, Call] = field(default_factory=dict)
    goals: Mapping[str, float] = field(default_factory=dict)
    memory_goal: float | None = None
    memory_limit: int | None = None
    numbers: int | None = None
    moved_bytes: int | None = None
    repeats: int = 7


def label(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


@dataclass
class Result:
    """Medians in seconds by side, peak memory in bytes by side where it was measured, and the goals beside them."""

    case: str
    seconds: dict[str, float]
    peak_bytes: dict[str, int]
    goals: dict[str, float]
    memory_goal: float | None
    memory_limit: int | None
    numbers: int | None

    @property
    def unit(self) -> str:
        return "ns each" if self.numbers else "µs"

    def shown(self, side: str) -> float:
        return self.seconds[side] * (1e9 / self.numbers if self.numbers else 1e6)

    def ratio(self, side: str) -> float:
        """How many times faster than a side ours is; NaN where the side did not run."""
        return self.seconds.get(side, math.nan) / self.seconds["ours"]

    def reached(self, side: str) -> float:
        """The ratio that a goal asks about."""
        if side != "compiled":
            return self.ratio(side)
        return min((self.ratio(name) for name in self.seconds if name.startswith("compiled")), default=math.nan)

    def shortfalls(self) -> list[str]:
        """What this case was meant to reach and did not, or could not be measured against."""
        missed = [
            f"{self.case}: {self.reached(side):.2f} × {side}, goal {goal:.2f}"
            for side, goal in self.goals.items()
            if not self.reached(side) >= goal
        ]
        if self.memory_goal is not None:
            share = self.peak_bytes["ours"] / self.peak_bytes["eager"]
            if not share <= self.memory_goal:
                missed.append(f"{self.case}: {share:.2f} of eager's peak memory, goal {self.memory_goal:.2f}")
        if self.memory_limit is not None and not self.peak_bytes["ours"] <= self.memory_limit:
            held, limit = self.peak_bytes["ours"] / 1e6, self.memory_limit / 1e6
            missed.append(f"{self.case}: {held:.0f} MB above the inputs, limit {limit:.0f} MB")
        return missed
