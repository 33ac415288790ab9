"""Examples in memory, as a data set's builder gives them, and what must hold for any examples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from genpipe.dataspec import DataSpec
from genpipe.errors import DataError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class RawData:
    """What a data set's loader gives: all examples, in the data's own units, before splitting.

    x: (N, *spec.shape); y: (N,) int64 or None.
    """

    spec: DataSpec
    x: Array
    y: Array | None = None

    def checked(self) -> RawData:
        """Itself, once shapes, types, ranges and finiteness hold; DataError says what does not."""
        where = f"data set '{self.spec.name}'"
        check_shape(self.spec, self.x, where)
        check_num(self.spec, len(self.x))
        check_examples(self.spec, self.x, self.y, where)
        return self


def check_num(spec: DataSpec, num: int) -> None:
    if num < 2:
        raise DataError(f"data set '{spec.name}': {num} example{'' if num == 1 else 's'}, expected at least 2")


def check_shape(spec: DataSpec, x: Array, where: str) -> None:
    if x.shape[1:] != spec.shape:
        raise DataError(f"{where}: x has shape {x.shape}, expected (N, {', '.join(map(str, spec.shape))})")


def check_examples(spec: DataSpec, x: Array, y: Array | None, where: str, first: int = 0) -> None:
    """DataError where examples are not what the spec says.

    where: how messages begin; first: the number of x[0] there, from which the first offender's is told.
    """
    check_shape(spec, x, where)
    if len(x) == 0:
        return
    if x.dtype.kind not in "uif":
        raise DataError(f"{where}: x has type {x.dtype}, expected numbers")
    if x.dtype.kind == "f":
        bad = ~np.isfinite(x.reshape(len(x), -1)).all(axis=1)
        if bad.any():
            raise DataError(
                f"{where}: {int(bad.sum())} of {len(x)} examples have NaN or infinity, first at "
                f"{first + int(bad.argmax())}; leave them out, or fill in what is missing"
            )
    if spec.levels is not None:
        needed = (
            f"levels would have to be {math.floor(x.max()) + 1}" if x.min() >= 0 else "levels are of values from 0 on"
        )
        _check_range(x, 0, spec.levels - 1, f"0 … {spec.levels - 1}", f"{where}: values", first, needed)
        if x.dtype.kind == "f" and (x != np.floor(x)).any():
            raise DataError(
                f"{where}: values are not whole, but levels is {spec.levels}: real numbers have low and high in its place"
            )
    elif spec.low is not None and spec.high is not None:
        needed = f"low and high would have to be {min(x.min(), spec.low):g} and {max(x.max(), spec.high):g}"
        _check_range(x, spec.low, spec.high, f"[{spec.low}, {spec.high}]", f"{where}: values", first, needed)
    if y is not None:
        if y.shape != (len(x),) or y.dtype.kind not in "ui":
            raise DataError(f"{where}: y has shape {y.shape} and type {y.dtype}, expected ({len(x)},) integers")
        if spec.num_classes is not None:
            _check_range(y, 0, spec.num_classes - 1, f"0 … {spec.num_classes - 1}", f"{where}: labels", first)


def _check_range(
    values: Array, low: float, high: float, expected: str, what: str, first: int, needed: str = ""
) -> None:
    """needed: what else would have to be so, for the data to be right."""
    smallest, largest = values.min(), values.max()
    if smallest < low or largest > high:
        outside = ((values < low) | (values > high)).reshape(len(values), -1).any(axis=1)
        raise DataError(
            f"{what} in [{smallest}, {largest}], expected {expected}; first at {first + int(outside.argmax())}"
            f"{f'; {needed}' if needed else ''}"
        )
