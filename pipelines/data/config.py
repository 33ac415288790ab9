"""Options of the stage `data`."""

from __future__ import annotations

from pydantic import Field, model_validator

from genpipe.config import Config, DatasetChoice, NumWorkers


class DataConfig(Config):
    """Options of the stage `data`."""

    dataset: DatasetChoice = Field(description="the data set: a name, or a mapping with its name and options")
    test_fraction: float = Field(0.2, gt=0, lt=1, description="share of the examples held out for evaluation")
    validation_fraction: float = Field(0.0, ge=0, lt=1, description="share of the examples held out to watch training")
    features_fraction: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the examples that feature extractors are trained on; taken from what would be trained on",
    )
    workers: NumWorkers = Field(1, description="processes that share the work; the result is the same")
    limit: int | None = Field(None, ge=4, description="keep this many examples, chosen by hash; null keeps all")

    @model_validator(mode="after")
    def _something_is_left(self) -> DataConfig:
        taken = self.test_fraction + self.validation_fraction + self.features_fraction
        if taken >= 1:
            names = "test_fraction and validation_fraction"
            if self.features_fraction:
                names = "test_fraction, validation_fraction and features_fraction"
            raise ValueError(f"{names} are {taken:g} together, so none are left to train")
        return self
