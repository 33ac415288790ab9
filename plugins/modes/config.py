"""Options of the metric of modes."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config


class ModesConfig(Config):
    """Options of the metric `modes`."""

    num_deviations: float = Field(3.0, gt=0, le=10, description="a sample this near a centre is one of that mode")
