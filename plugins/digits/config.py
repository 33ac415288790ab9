"""Options of the data sets of digits."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config


class DigitsConfig(Config):
    """Options of the data set `digits`."""

    limit: int | None = Field(None, ge=2, le=1797, description="only the first so many examples; null is all")


class StackedDigitsConfig(Config):
    """Options of the data set `stacked_digits`."""

    num_examples: int = Field(65_000, ge=2, description="examples drawn: triples of digits")
