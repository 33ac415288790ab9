"""Examples in memory, as a data set's builder gives them."""

from __future__ import annotations

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
        if self.x.shape[1:] != self.spec.shape:
            raise DataError(
                f"{where}: x has shape {self.x.shape}, expected (N, {', '.join(map(str, self.spec.shape))})"
            )
        if len(self.x) < 2:
            raise DataError(f"{where}: {len(self.x)} examples, expected at least 2")
        if self.x.dtype.kind not in "uif":
            raise DataError(f"{where}: x has type {self.x.dtype}, expected numbers")
        if self.x.dtype.kind == "f":
            bad = ~np.isfinite(self.x.reshape(len(self.x), -1)).all(axis=1)
            if bad.any():
                raise DataError(
                    f"{where}: {int(bad.sum())} of {len(self.x)} examples have NaN or infinity, first at {int(bad.argmax())}"
                )
        if self.spec.levels is not None:
            low, high = self.x.min(), self.x.max()
            if low < 0 or high >= self.spec.levels:
                raise DataError(f"{where}: values in [{low}, {high}], expected 0 … {self.spec.levels - 1}")
            if self.x.dtype.kind == "f" and (self.x != np.floor(self.x)).any():
                raise DataError(f"{where}: values are not whole, but levels is {self.spec.levels}")
        elif self.spec.low is not None and self.spec.high is not None:
            low, high = self.x.min(), self.x.max()
            if low < self.spec.low or high > self.spec.high:
                raise DataError(f"{where}: values in [{low}, {high}], expected [{self.spec.low}, {self.spec.high}]")
        if self.y is not None:
            if self.y.shape != (len(self.x),) or self.y.dtype.kind not in "ui":
                raise DataError(
                    f"{where}: y has shape {self.y.shape} and type {self.y.dtype}, expected ({len(self.x)},) integers"
                )
            if self.spec.num_classes is not None and (self.y.min() < 0 or self.y.max() >= self.spec.num_classes):
                raise DataError(
                    f"{where}: labels in [{self.y.min()}, {self.y.max()}], expected 0 … {self.spec.num_classes - 1}"
                )
        return self
