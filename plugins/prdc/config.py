"""Options of precision, recall, density and coverage."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config, FeatureExtractorChoice


class PrdcConfig(Config):
    """Options of the metric `prdc`."""

    k: int = Field(5, ge=1, le=1000, description="a ball reaches to its centre's k-th nearest neighbour")
    max_examples: int = Field(
        10_000, ge=2, description="examples on either side at most; of more, a fixed random part is taken"
    )
    features: FeatureExtractorChoice | None = Field(
        None, description="what distances are taken between; null takes the evaluation's"
    )
