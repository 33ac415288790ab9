"""Real handwritten digits of 8 × 8 pixels, part of scikit-learn: 1,797 of them, and three at a time."""

from __future__ import annotations

from genpipe.components import Dataset
from genpipe.hookspecs import hookimpl

DIGITS = Dataset(
    name="digits",
    summary="1,797 handwritten digits, 8×8 pixels of 17 grey levels, 10 classes (ships with scikit-learn)",
    config="genpipe.plugins.digits.config:DigitsConfig",
    build="genpipe.plugins.digits.data:build",
    events=("image",),
    labelled=True,
)

STACKED_DIGITS = Dataset(
    name="stacked_digits",
    summary="three digits in the channels of an image of 8×8 pixels, 1,000 classes: how many modes does a model cover?",
    config="genpipe.plugins.digits.config:StackedDigitsConfig",
    build="genpipe.plugins.digits.stacked:build",
    events=("image",),
    labelled=True,
)


@hookimpl
def register_datasets() -> list[Dataset]:
    return [DIGITS, STACKED_DIGITS]
