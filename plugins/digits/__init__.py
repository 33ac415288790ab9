"""The data set `digits`: 1,797 real handwritten digits of 8 × 8 pixels, part of scikit-learn."""

from __future__ import annotations

from genpipe.components import Dataset
from genpipe.hookspecs import hookimpl

DIGITS = Dataset(
    name="digits",
    summary="1,797 handwritten digits, 8×8 pixels of 17 grey levels, 10 classes (ships with scikit-learn)",
    config="genpipe.plugins.digits.config:DigitsConfig",
    build="genpipe.plugins.digits.data:build",
    events=("image",),
)


@hookimpl
def register_datasets() -> list[Dataset]:
    return [DIGITS]
