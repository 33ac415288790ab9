"""Options of the sliced Wasserstein distances."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config, FeatureExtractorChoice


class SlicedWassersteinConfig(Config):
    """Options of the metric `sliced_wasserstein`."""

    num_projections: int = Field(256, ge=2, description="random lines; memory is N × lines × 8 bytes")
    max_examples: int = Field(
        20_000, ge=2, description="examples on either side at most; of more, a fixed random part is taken"
    )
    features: FeatureExtractorChoice | None = Field(
        None, description="what the distance is taken between; null takes the evaluation's"
    )
