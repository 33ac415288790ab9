"""Options of the Fréchet distance."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config, FeatureExtractorChoice


class FrechetConfig(Config):
    """Options of the metric `frechet`."""

    num_corrected: int = Field(
        512,
        ge=2,
        description="examples of either side, at most, that bias and standard error are estimated from",
    )
    bias_corrected: bool = Field(True, description="also give the value less its estimated bias")
    features: FeatureExtractorChoice | None = Field(
        None, description="what distances are taken between; null takes the evaluation's"
    )
