"""Options of the stage `report`."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config


class ReportConfig(Config):
    """Options of the stage `report`."""

    title: str | None = Field(None, min_length=1, description="heading; null says which family on which data set")
