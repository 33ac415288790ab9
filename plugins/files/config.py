"""Options of the data sets that are read from files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from genpipe.config import Config


class NpzConfig(Config):
    """Options of the data set `npz`."""

    path: Path = Field(description="the archive")
    x: str = Field("x", description="name of the examples: (N, D), (N, H, W) or (N, C, H, W)")
    y: str | None = Field(None, description="name of the labels, (N,) integers; null where there are none")
    levels: int | None = Field(
        None,
        ge=2,
        le=2**24,
        description="values are whole numbers below this; uint8 images have 256 by default",
    )
    low: float | None = Field(None, description="smallest value of real images; 0 by default")
    high: float | None = Field(None, description="largest value of real images; 1 by default")
    channels_last: bool = Field(False, description="images are (N, H, W, C)")
    limit: int | None = Field(None, ge=2, description="only the first so many examples; null is all")

    @model_validator(mode="after")
    def _range(self) -> Self:
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high go together")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low is {self.low:g}, which is not below high, {self.high:g}")
        if self.levels is not None and self.low is not None:
            raise ValueError("levels is for whole numbers, low and high for real ones: give one of the two")
        return self


class CsvConfig(Config):
    """Options of the data set `csv`."""

    path: Path = Field(description="the file; its first row names the columns")
    columns: tuple[str, ...] | None = Field(
        None, min_length=1, description="columns that make an example; all but the label by default"
    )
    label: str | None = Field(None, description="column with the labels, any text; null where there is none")
    delimiter: str = Field(",", min_length=1, max_length=1, description="what separates cells")
    limit: int | None = Field(None, ge=2, description="only the first so many rows; null is all")


class IdxConfig(Config):
    """Options of the data set `idx`."""

    images: Path = Field(description="IDX file of bytes, (N, H, W), plain or gzipped")
    labels: Path | None = Field(None, description="IDX file of bytes, (N,); null where there are none")
    limit: int | None = Field(None, ge=2, description="only the first so many examples; null is all")


class FashionMnistConfig(Config):
    """Options of the data set `fashion_mnist`."""

    folder: Path | None = Field(
        None,
        description="folder with the four files; by default $GENPIPE_DATA or Debian's dataset-fashion-mnist",
    )
    part: Literal["all", "train", "test"] = Field("all", description="all 70,000, the first 60,000 or the last 10,000")
    limit: int | None = Field(None, ge=2, description="only the first so many examples; null is all")
