"""Options of the Fréchet distance."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config


class FrechetConfig(Config):
    """Options of the metric `frechet`."""

    num_blocks: int = Field(
        20,
        ge=2,
        le=1000,
        description="blocks of the jackknife; memory is blocks × D² × 8 bytes for reference and for samples",
    )
    bias_corrected: bool = Field(True, description="also give the value with the jackknife's bias correction")
