"""What arrays of numbers are as examples: images or vectors, of levels, of a range, or unbounded."""

from __future__ import annotations

from typing import Any

import numpy as np

from genpipe.components import EventKind
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.plugins.files.config import ValueRange


def spec_of(
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    values: ValueRange,
    where: str,
    *,
    num_classes: int | None = None,
    class_names: tuple[str, ...] = (),
) -> DataSpec:
    """The spec of examples of a shape, (C, H, W) or (D,), in their numbers' own type.

    uint8 images have 256 levels and real ones lie in [0, 1], unless `values` says otherwise.
    """
    event: EventKind = "image" if len(shape) == 3 else "vector"
    levels, low, high = values.levels, values.low, values.high
    if event == "image" and levels is None and low is None:
        if dtype == np.uint8:
            levels = 256
        elif dtype.kind == "f":
            low, high = 0.0, 1.0
        else:
            raise DataError(f"{where} has type {dtype}: say how many levels there are (levels)")
    return DataSpec(
        name=name,
        event=event,
        shape=shape,
        levels=levels,
        low=low,
        high=high,
        num_classes=num_classes,
        class_names=class_names,
    )
