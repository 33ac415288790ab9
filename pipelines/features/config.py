"""Options of the stage `features`."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config, FeatureExtractorChoice, NumWorkers


class FeaturesConfig(Config):
    """Options of the stage `features`."""

    default: FeatureExtractorChoice | None = Field(
        None, description="the extractor of metrics that name none; null chooses by the kind of data"
    )
    others: tuple[FeatureExtractorChoice, ...] = Field((), description="the extractors that metrics name themselves")
    batch_size: int = Field(256, ge=1, description="examples computed at once; changes speed and memory only")
    workers: NumWorkers = Field(1, description="processes that share the work; the result is the same")
