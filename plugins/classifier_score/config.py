"""Options of the classifier score."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config, FeatureExtractorChoice


class ClassifierScoreConfig(Config):
    """Options of the metric `classifier_score`."""

    features: FeatureExtractorChoice | None = Field(
        None, description="the classifier; null takes the evaluation's features, which then need logits"
    )
    num_splits: int = Field(10, ge=2, le=1000, description="splits of the samples, in the mean and in the error")
