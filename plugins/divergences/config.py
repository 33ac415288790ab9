"""Options of the divergences."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config


class DivergencesConfig(Config):
    """Options of the metric `divergences`."""

    block: int = Field(
        500, ge=2, le=5000, description="samples that are transported to as many draws of the truth at once"
    )
    num_blocks: int = Field(4, ge=1, le=100, description="such blocks; their spread is the standard error")
