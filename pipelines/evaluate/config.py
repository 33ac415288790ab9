"""Options of the stage `evaluate`."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from genpipe.config import Config, FeatureExtractorChoice, MetricChoice, NumWorkers

# Names; whoever reads the recipe turns them into components.
DEFAULT_METRICS: Any = ("likelihood", "frechet", "novelty")
DEFAULT_FEATURES: Any = "standardise"


class EvaluateConfig(Config):
    """Options of the stage `evaluate`."""

    metrics: tuple[MetricChoice, ...] = Field(
        DEFAULT_METRICS,
        min_length=1,
        description="columns of the table: names, or mappings with their options",
    )
    features: FeatureExtractorChoice = Field(
        DEFAULT_FEATURES, description="what maps examples to the vectors that distances are taken between"
    )
    num: int | None = Field(
        None,
        ge=4,
        description="examples in every row; None takes as many as are held out and were trained on",
    )
    batch_size: int = Field(256, ge=1, description="examples scored at once; changes speed and memory only")
    workers: NumWorkers = Field(1, description="processes that share the work; the result is the same")
    num_nearest: int = Field(
        12, ge=0, le=64, description="samples kept beside their nearest training example, the closest first"
    )
