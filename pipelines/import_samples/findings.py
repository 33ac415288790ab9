"""What is found wrong with samples as they are read: gathered to the end, so that all of it is told at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genpipe.data import Array
from genpipe.dataspec import DataSpec
from genpipe.pipelines.import_samples.config import ImportConfig
from genpipe.pipelines.import_samples.layout import Shape, laid_out, misfit
from genpipe.pipelines.import_samples.values import Values, convention, converted, values_of


@dataclass
class _Count:
    """How many samples have a fault, and the first of them."""

    num: int = 0
    first: int = -1

    def add(self, bad: Array, start: int) -> None:
        """bad: (n,) whether each of the samples from `start` on has it."""
        if self.num == 0 and bad.any():
            self.first = start + int(bad.argmax())
        self.num += int(bad.sum())


@dataclass
class Findings:
    """A scan of samples, block by block. low, high: of all finite values, as they were given."""

    spec: DataSpec
    config: ImportConfig
    num: int = 0
    low: float = np.inf
    high: float = -np.inf
    shape_problem: Shape | None = None
    not_finite: _Count = field(default_factory=_Count)
    outside: _Count = field(default_factory=_Count)
    not_whole: _Count = field(default_factory=_Count)
    num_clipped: int = 0
    differ: bool = False
    _first: Array | None = None

    def __post_init__(self) -> None:
        self.values = values_of(self.spec)

    def take(self, x: Array) -> Array | None:
        """The next block (n, *any) as examples (n, *spec.shape) float64; None where it cannot be one."""
        start, self.num = self.num, self.num + len(x)
        y = x.astype(np.float64)
        each = y.reshape(len(y), -1)
        finite: Any = np.isfinite(each)
        self.not_finite.add((~finite).any(axis=1), start)
        if finite.any():
            self.low = min(self.low, float(np.min(each, where=finite, initial=np.inf)))
            self.high = max(self.high, float(np.max(each, where=finite, initial=-np.inf)))
        if self._first is None:
            self._first = each[:1].copy()
        self.differ |= each.shape[1] != self._first.shape[1] or bool((each != self._first).any())
        if self.values is not None:
            y = self._in_units(each, start, self.values).reshape(y.shape)
        fitting = laid_out(y, self.spec, self.config.reshape)
        if fitting is None:
            self.shape_problem = self.shape_problem or y.shape[1:]
        return fitting

    def _in_units(self, each: Array, start: int, values: Values) -> Array:
        """(n, D) in the reference's units, where `range` says how."""
        given = self.config.range
        low, high = (values.low, values.high) if given is None else given
        outside = np.isfinite(each) & ((each < low) | (each > high))
        if given is not None and self.config.clip:
            self.num_clipped += int(outside.sum())
            each = np.clip(each, low, high)
        else:
            self.outside.add(outside.any(axis=1), start)
        if given is not None:
            return converted(each, given, values)
        if values.whole:
            self.not_whole.add((each != np.floor(each)).any(axis=1) & np.isfinite(each).all(axis=1), start)
        return each

    def problems(self) -> list[str]:
        """All that keeps the samples from being compared."""
        found = []
        if self.num < 2:
            found.append(f"there {'is 1 sample' if self.num == 1 else 'are no samples'}, expected at least 2")
        if self.shape_problem is not None:
            found.append(misfit(self.shape_problem, self.spec))
        if self.not_finite.num:
            found.append(f"{self._of(self.not_finite)} NaN or infinity")
        elif self.num >= 2 and not self.differ:
            found.append("all samples are the same, number for number: were they saved as they were meant to be?")
        if self.values is not None:
            found += self._value_problems(self.values)
        elif self.config.range is not None:
            found.append(f"samples.range is given, but the values of '{self.spec.name}' have no range to bring it to")
        return found

    def _value_problems(self, values: Values) -> list[str]:
        given = self.config.range
        if self.outside.num and given is not None:
            return [
                f"{self._of(self.outside)} values outside samples.range, [{given[0]:g}, {given[1]:g}]: values are in "
                f"{self._span}; give their true range, or samples.clip=true to set them to its ends"
            ]
        if self.outside.num:
            return [
                f"values are in {self._span}, expected {values}; first at sample {self.outside.first}{self._advice}"
            ]
        if self.not_whole.num:
            rounding = f"samples.range=[{values.low:g},{values.high:g}] rounds them"
            if self._looks_narrow(values):
                own = f"if they are in these units already, {rounding}"
                return [f"values are in {self._span}, expected {values}{self._advice}; {own}"]
            return [f"{self._of(self.not_whole)} values that are not whole, expected {values}: {rounding}"]
        if given is None and self.num >= 2 and self.differ and self._looks_narrow(values):
            own = f"samples.range=[{values.low:g},{values.high:g}]"
            return [
                f"values are in {self._span}, a small part of {values}{self._advice}; if they are in these "
                f"units already, say so with {own}"
            ]
        return []

    def _looks_narrow(self, values: Values) -> bool:
        """Whether all values lie in [0, 1] where the reference's reach at least twice as far: likely other units."""
        return self.low >= 0 and self.high <= 1 and values.high - values.low >= 2

    @property
    def _span(self) -> str:
        return f"[{self.low:g}, {self.high:g}]"

    @property
    def _advice(self) -> str:
        assert self.values is not None
        usual = convention(self.low, self.high)
        if usual is None:
            return f"; if they are in other units, give their range: samples.range=[{self.low:g},{self.high:g}]"
        shown = f"[{usual[0]:g},{usual[1]:g}]"
        return f"; if {shown} stands for {self.values}, set samples.range={shown}"

    def _of(self, count: _Count) -> str:
        return f"{count.num} of {self.num} samples (first: {count.first}) have"

    def notes(self) -> list[str]:
        """What was done to them that a reader should know."""
        notes = []
        if self.config.range is not None and self.values is not None:
            low, high = self.config.range
            rounded = ", rounded to the nearest" if self.values.whole else ""
            notes.append(f"Samples were brought from [{low:g}, {high:g}] to {self.values}{rounded}.")
        if self.num_clipped:
            total = self.num * self.spec.num_dimensions
            notes.append(f"{self.num_clipped} of their {total} values lay outside that range and were set to its ends.")
        return notes
