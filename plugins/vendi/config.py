"""Options of the Vendi score."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config, FeatureExtractorChoice


class VendiConfig(Config):
    """Options of the metric `vendi`."""

    order_infinity: bool = Field(
        False, description="also give the score of order ∞, which the largest share alone decides, so duplicates show"
    )
    max_examples: int = Field(
        10_000, ge=2, description="examples of a row at most; of more, a fixed random part is taken"
    )
    features: FeatureExtractorChoice | None = Field(
        None, description="what similarity is taken between; null takes the evaluation's"
    )
