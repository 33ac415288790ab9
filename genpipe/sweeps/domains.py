"""The values that a sweep tries for one key, and how they are written: `log(1e-4,1e-2)`, `[8,16,32]`.

Values are points of a low-discrepancy sequence, not independent draws: few trials cover a range evenly, trial i is the
same in a sweep of any length, and so a sweep can be made longer (Bousquet et al. (2017), Critical hyper-parameters: no
random, no cry).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from genpipe.errors import UsageError, nearest
from genpipe.recipe_source import parse_value

SIGNIFICANT_DIGITS = 4  # of values drawn: short enough to type again, and exactly


class Domain(Protocol):
    """What a key may be. `str()` gives it as it is written."""

    @property
    def probes(self) -> Sequence[Any]:
        """Values that a recipe must take if it is to take them all."""

    def at(self, u: float) -> Any:
        """The value at `u` in [0, 1) of the domain."""


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included; evenly, or (log) their logarithms; whole numbers where `whole`."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __str__(self) -> str:
        name = {(False, False): "uniform", (True, False): "log", (False, True): "int", (True, True): "logint"}
        return f"{name[self.log, self.whole]}({self.low},{self.high})"

    @property
    def probes(self) -> Sequence[Any]:
        # the last for keys that take whole numbers only, as 8.0 is one
        return (self._typed(self.low), self._typed(self.high), self.at(1 / math.pi))

    def at(self, u: float) -> Any:
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        value = low * (high / low) ** u if self.log else low + (high - low) * u
        if self.whole:
            return int(min(max(round(value), self.low), self.high))
        return min(max(float(f"{value:.{SIGNIFICANT_DIGITS}g}"), self.low), self.high)

    def _typed(self, value: float) -> Any:
        return int(value) if self.whole else float(value)


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return f"choice({','.join(map(str, self.values))})"

    @property
    def probes(self) -> Sequence[Any]:
        return self.values

    def at(self, u: float) -> Any:
        return self.values[min(int(u * len(self.values)), len(self.values) - 1)]


@dataclass(frozen=True)
class Grid(Choice):
    """Each of some values in turn, with each value of the sweep's other grids."""

    def __str__(self) -> str:
        return f"[{','.join(map(str, self.values))}]"


FORMS = {
    "log": "log(LOW,HIGH) draws numbers whose logarithm is uniform",
    "uniform": "uniform(LOW,HIGH) draws numbers",
    "int": "int(LOW,HIGH) draws whole numbers",
    "logint": "logint(LOW,HIGH) draws whole numbers whose logarithm is uniform",
    "choice": "choice(A,B,…) draws one of some values",
}


def parse_domain(text: Any) -> Domain | None:
    """The domain that a value of the command line, or of Python, stands for; None where it is a plain value.

    UsageError where it is meant as a domain and is none.
    """
    if isinstance(text, list | tuple):
        return _grid(text)
    if not isinstance(text, str):
        return text if isinstance(text, Range | Choice) else None
    text = text.strip()
    if text.startswith("["):
        values = _values(text, "a list of values, such as [8,16,32]")
        return _grid(values) if isinstance(values, list) else None
    call = re.fullmatch(r"(\w+)\((.*)\)", text, re.DOTALL)
    if call is None:
        return None
    name, inside = call.groups()
    if name not in FORMS:
        raise UsageError(f"there is no '{name}(…)'{nearest(name, FORMS)}")
    arguments = _values(f"[{inside}]", FORMS[name])
    if name == "choice":
        if not arguments:
            raise UsageError(f"no values; expected {FORMS[name]}")
        return Choice(tuple(arguments))
    return _range(name, arguments)


def _values(text: str, expected: str) -> Any:
    try:
        return parse_value(text)
    except ValueError:
        raise UsageError(f"{text} is no list of values; expected {expected}") from None


def _grid(values: Sequence[Any]) -> Grid:
    if not values:
        raise UsageError("an empty list; a list is a grid of the values to try, such as [8,16,32]")
    return Grid(tuple(values))


def _range(name: str, arguments: Sequence[Any]) -> Range:
    whole, log = name in ("int", "logint"), name in ("log", "logint")
    wanted = int if whole else int | float
    if len(arguments) != 2 or not all(isinstance(a, wanted) and not isinstance(a, bool) for a in arguments):
        given = ", ".join(map(repr, arguments)) or "nothing"
        raise UsageError(f"given {given}; expected two {'whole ' if whole else ''}numbers: {FORMS[name]}")
    low, high = arguments
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UsageError(f"given {low:g} and {high:g}; both ends must be finite")
    if low >= high:
        raise UsageError(f"given {low:g} to {high:g}; the first must be below the second")
    if log and low <= 0:
        raise UsageError(f"given {low:g} as the lower end; a logarithm needs numbers above 0")
    return Range(low, high, log=log, whole=whole)


def points(keys: Sequence[str], seed: int, trial: int, cell: int) -> list[float]:
    """For each key a number in [0, 1): point `trial` of the sequence for `cell`, one of the grid's combinations.

    The additive recurrence of Roberts (2018), "The unreasonable effectiveness of quasirandom sequences", of the golden
    ratio where there is one key. Its start depends on the seed and the key; cells are apart by multiples of √2.
    """
    base = 2.0
    for _ in range(64):  # the root of x^(d + 1) = x + 1, by its fixed point
        base = (1 + base) ** (1 / (len(keys) + 1))
    return [
        (_start(key, seed) + trial * base ** -(i + 1) + cell * (i + 1) * math.sqrt(2)) % 1.0
        for i, key in enumerate(keys)
    ]


def _start(key: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
