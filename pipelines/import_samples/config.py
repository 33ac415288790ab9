"""Options of the stage `import_samples`."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from genpipe.config import Config, DatasetChoice


class ImportConfig(Config):
    """Options of the stage `import_samples`."""

    source: DatasetChoice = Field(description="what reads the samples: a data set's name and options, such as a path")
    range: tuple[float, float] | None = Field(
        None,
        description="the samples' own smallest and largest value, which become those of the reference; whole numbers "
        "are rounded to the nearest. null takes values as they are",
    )
    clip: bool = Field(False, description="values outside `range` become its ends; they are counted")
    reshape: bool = Field(False, description="take each sample's numbers, in their order, in the reference's shape")
    title: str | None = Field(None, min_length=1, description="what the table calls them; null says what was read")

    @field_validator("range")
    @classmethod
    def _is_one(cls, given: tuple[float, float] | None) -> tuple[float, float] | None:
        if given is not None and given[0] >= given[1]:
            raise ValueError("expected [smallest, largest], the first below the second")
        return given

    @model_validator(mode="after")
    def _clip_has_ends(self) -> ImportConfig:
        if self.clip and self.range is None:
            raise ValueError("clip is given without range, to whose ends it would clip")
        return self
