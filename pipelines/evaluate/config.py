"""Options of the stage `evaluate`."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config, FeatureExtractorChoice, MetricChoice, NumWorkers


class EvaluateConfig(Config):
    """Options of the stage `evaluate`."""

    metrics: tuple[MetricChoice, ...] | None = Field(
        None,
        min_length=1,
        description="columns of the table: names, or mappings with their options; null takes those for the kind of data",
    )
    features: FeatureExtractorChoice | None = Field(
        None,
        description="what maps examples to the vectors that distances are taken between; null chooses by the kind of data",
    )
    num: int | None = Field(
        None,
        ge=4,
        description="examples in every row, chosen by hash; null takes as many as are held out and were trained on",
    )
    batch_size: int = Field(256, ge=1, description="examples scored at once; changes speed and memory only")
    workers: NumWorkers = Field(1, description="processes that share the work; the result is the same")
    num_nearest: int = Field(
        12, ge=0, le=64, description="samples kept beside their nearest training example, the closest first"
    )
    num_likelihoods: int = Field(
        128,
        ge=2,
        description="held-out examples, training examples and noise whose likelihoods are kept one by one, of each as many",
    )
