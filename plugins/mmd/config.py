"""Options of the kernel distances."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config, FeatureExtractorChoice


class KidConfig(Config):
    """Options of the metric `kid`."""

    max_examples: int = Field(
        10_000, ge=3, description="examples on either side at most; of more, a fixed random part is taken"
    )
    features: FeatureExtractorChoice | None = Field(
        None, description="what the distance is taken between; null takes the evaluation's"
    )


class MmdConfig(KidConfig):
    """Options of the metric `mmd`."""

    bandwidths: tuple[float, ...] = Field(
        (0.25, 0.5, 1.0, 2.0),
        min_length=1,
        description="standard deviations of the Gaussians whose mean is the kernel, in units of the median distance "
        "between two training examples",
    )
