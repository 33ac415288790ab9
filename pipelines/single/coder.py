"""The section `coder` of a recipe: the model whose codes another is trained on."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config, FamilyChoice
from genpipe.pipelines.encode.config import EncodeConfig
from genpipe.training.config import TrainConfig


class CoderSections(Config):
    """What is trained on the data, where the section `model` is what is trained on its codes."""

    model: FamilyChoice = Field(
        description="the family that encodes and decodes: a name, or a mapping with its options"
    )
    train: TrainConfig = Field(description="how to train it")
    encode: EncodeConfig = Field(description="how its codes become data")
    compose: FamilyChoice = Field("two_stage", description="what both are put together as, with its options")  # type: ignore[assignment]
