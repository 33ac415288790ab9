"""The units of samples: what a data set's values may be, and how those of another program become such."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genpipe.data import Array
from genpipe.dataspec import DataSpec

CONVENTIONS = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
"""Ranges that images come in, narrowest first."""


@dataclass(frozen=True)
class Values:
    """The smallest and the largest value that there may be; whole: whether none lie in between whole numbers."""

    low: float
    high: float
    whole: bool

    def __str__(self) -> str:
        return f"whole numbers 0 … {self.high:g}" if self.whole else f"real numbers in [{self.low:g}, {self.high:g}]"


def values_of(spec: DataSpec) -> Values | None:
    """None where values have no bounds."""
    if spec.levels is not None:
        return Values(0.0, float(spec.levels - 1), whole=True)
    if spec.low is not None and spec.high is not None:
        return Values(spec.low, spec.high, whole=False)
    return None


def convention(low: float, high: float) -> tuple[float, float] | None:
    """The usual range that values between low and high are of."""
    return next(((a, b) for a, b in CONVENTIONS if a <= low and high <= b), None)


def converted(x: Array, given: tuple[float, float], values: Values) -> Array:
    """x (float64) with the range `given` brought to that of `values`; rounded to the nearest, ties to even."""
    y = values.low + (x - given[0]) * ((values.high - values.low) / (given[1] - given[0]))
    return np.rint(y) if values.whole else y
