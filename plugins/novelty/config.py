"""Options of the novelty metric."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config


class NoveltyConfig(Config):
    """Options of the metric `novelty`."""

    quantile: float = Field(
        0.01,
        gt=0,
        le=0.5,
        description="a sample counts as a copy below this quantile of held-out data's distance ratios",
    )
