"""Options of the stage `sample`."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config, NumWorkers


class SampleConfig(Config):
    """Options of the stage `sample`."""

    num: int = Field(64, ge=1, description="examples to draw")
    batch_size: int = Field(
        256, ge=1, description="examples drawn at once, by one worker; changes speed and memory only"
    )
    workers: NumWorkers = Field(1, description="processes that share the work; the result is the same")
    sampler: str | dict[str, str | int | float | None] | None = Field(
        None,
        description="one of the family's samplers: a name, or a mapping with its name and options; null takes its default",
    )
    labels: bool = Field(
        False,
        description="ask a conditional model for each class in turn, instead of for classes as frequent as in the data",
    )
