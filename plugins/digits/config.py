"""Options of the data set `digits`."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config


class DigitsConfig(Config):
    """Options of the data set `digits`."""

    limit: int | None = Field(None, ge=2, le=1797, description="only the first so many examples; null is all")
