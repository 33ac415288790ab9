"""Options of the stage `train`."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config, FamilyChoice
from genpipe.training.config import TrainConfig


class TrainStageConfig(Config):
    """Options of the stage `train`."""

    model: FamilyChoice = Field(description="the model family: a name, or a mapping with its name and options")
    train: TrainConfig = Field(description="how to train it")
