"""Options of the classifier two-sample test."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from genpipe.config import Config, FeatureExtractorChoice


class TwoSampleConfig(Config):
    """Options of the metric `two_sample`."""

    classifier: Literal["mlp", "logistic", "knn"] = Field(
        "mlp",
        description="mlp: a layer of 64 ReLUs; logistic: a plane, which sees means alone; knn: the √n nearest vote",
    )
    max_examples: int = Field(
        5_000, ge=4, description="examples on either side at most; of more, a fixed random part is taken"
    )
    features: FeatureExtractorChoice | None = Field(
        None, description="what the classifier sees; null takes the evaluation's"
    )
