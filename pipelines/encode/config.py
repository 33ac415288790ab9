"""Options of the stage `encode`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from genpipe.config import Config


class EncodeConfig(Config):
    """Options of the stage `encode`."""

    event: Literal["image", "vector", "sequence"] | None = Field(
        None, description="what codes are as data; null takes images where they are maps, else vectors"
    )
    num_draws: int = Field(
        1, ge=1, description="codes of each training example, drawn from the model's posterior; more for real codes"
    )
    batch_size: int = Field(256, ge=1, description="examples encoded at once; changes speed and memory only")
