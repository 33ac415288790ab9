"""Options of the mode histogram."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config, FeatureExtractorChoice


class ModeKLConfig(Config):
    """Options of the metric `mode_kl`."""

    features: FeatureExtractorChoice | None = Field(
        None, description="the classifier; null takes the evaluation's features, which then need logits"
    )
    min_share: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="a class is covered by at least this part of the samples that its share of real data asks for, and "
        "at least one; 0 is one sample, as the literature counts, where a classifier's mistakes cover what is missing",
    )
