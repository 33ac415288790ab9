"""Options of the data sets that are read from files."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from genpipe.config import Config, NotInKey
from genpipe.plugins.files.address import Address, DataAddress

PLACES = "a file, a folder, a pattern such as data/part-*, or an address such as s3://bucket/folder"
MAX_SIDE = 16_384
DEFAULT_NAME = "x"
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]


class ValueRange(Config):
    """What the numbers of examples may be."""

    levels: int | None = Field(
        None,
        ge=2,
        le=2**24,
        description="values are whole numbers below this; uint8 images have 256 by default",
    )
    low: float | None = Field(None, description="smallest value of real images; 0 by default")
    high: float | None = Field(None, description="largest value of real images; 1 by default")

    @model_validator(mode="after")
    def _range(self) -> Self:
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high go together")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low is {self.low:g}, which is not below high, {self.high:g}")
        if self.levels is not None and self.low is not None:
            raise ValueError("levels is for whole numbers, low and high for real ones: give one of the two")
        return self


class ImageOptions(Config):
    """How encoded images (PNG, JPEG, WebP, …) become examples of one shape."""

    size: int | tuple[int, int] | None = Field(
        None,
        description="height and width, or one number for both: images are scaled to cover it, then cut to its middle; "
        "null takes them as they are, all of one size",
    )
    mode: Literal["RGB", "L"] = Field("RGB", description="colours (RGB) or grey (L)")
    on_error: Literal["raise", "skip"] = Field(
        "raise", description="an image that cannot be read: an error, or left out (each is then decoded twice)"
    )

    @field_validator("size", mode="before")
    @classmethod
    def _sides(cls, size: object) -> object:
        sides = size if isinstance(size, list | tuple) else [size] * 2
        whole = all(isinstance(side, int) and not isinstance(side, bool) and 1 <= side <= MAX_SIDE for side in sides)
        if size is not None and not (whole and len(sides) == 2):
            raise ValueError(f"expected a whole number from 1 to {MAX_SIDE:,}, or two of them, [height, width]")
        return size

    @property
    def height_and_width(self) -> tuple[int, int] | None:
        return (self.size, self.size) if isinstance(self.size, int) else self.size


class NpzConfig(ValueRange):
    """Options of the data set `npz`."""

    path: DataAddress = Field(description=f"the archives: {PLACES}")
    x: str = Field(
        DEFAULT_NAME,
        description="name of the examples, (N, D), (N, H, W) or (N, C, H, W); an archive's only array may have any",
    )
    y: str | None = Field(None, description="name of the labels, (N,) integers; null where there are none")
    channels_last: bool = Field(False, description="images are (N, H, W, C)")
    limit: int | None = Field(None, ge=2, description="only the first so many examples; null is all")


class CsvConfig(Config):
    """Options of the data set `csv`."""

    path: DataAddress = Field(description=f"the tables: {PLACES}; the first row of each names its columns")
    columns: tuple[str, ...] | None = Field(
        None, min_length=1, description="columns that make an example; all but the label by default"
    )
    label: str | None = Field(None, description="column with the labels, any text; null where there is none")
    delimiter: str = Field(",", min_length=1, max_length=1, description="what separates cells")
    limit: int | None = Field(None, ge=2, description="only the first so many rows; null is all")


class IdxConfig(Config):
    """Options of the data set `idx`."""

    images: DataAddress = Field(description="IDX file of bytes, (N, H, W), plain or gzipped; or a pattern, or a folder")
    labels: Annotated[Address | None, NotInKey()] = Field(
        None, description="IDX file of bytes, (N,), or a pattern for as many; null where there are none"
    )
    limit: int | None = Field(None, ge=2, description="only the first so many examples; null is all")


class FashionMnistConfig(Config):
    """Options of the data set `fashion_mnist`."""

    folder: Annotated[Address | None, NotInKey()] = Field(
        None,
        description="folder with the four files; by default $GENPIPE_DATA or Debian's dataset-fashion-mnist",
    )
    part: Literal["all", "train", "test"] = Field("all", description="all 70,000, the first 60,000 or the last 10,000")
    limit: int | None = Field(None, ge=2, description="only the first so many examples; null is all")


class ImageFolderConfig(ImageOptions):
    """Options of the data set `image_folder`."""

    path: DataAddress = Field(description="the folder (folders in it are searched), or a pattern, or an address")
    labels: Literal["folder"] | None = Field(
        "folder", description="an image's label is the folder in `path` that it lies in, where there are any; or null"
    )


class WebDatasetConfig(ImageOptions):
    """Options of the data set `webdataset`."""

    path: DataAddress = Field(description="the tars: a file, a folder, or a pattern such as train-{000..099}.tar")
    image: tuple[str, ...] = Field(
        ("png", "jpg", "jpeg", "webp"), min_length=1, description="endings of the images, after a name's first dot"
    )
    label: str | None = Field(
        None, description="where labels are: an ending with text (cls, txt), or json:FIELD; null where there are none"
    )

    @field_validator("label")
    @classmethod
    def _field(cls, label: str | None) -> str | None:
        if label is not None and (label == "json" or label.endswith(":")):
            raise ValueError("expected the field of the JSON that is the label, such as json:class")
        return label


class ParquetConfig(ImageOptions, ValueRange):
    """Options of the data set `parquet`."""

    path: DataAddress = Field(description=f"the tables: {PLACES}")
    columns: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="columns of numbers, or one of lists of numbers or of images; all but the label by default",
    )
    label: str | None = Field(None, description="column with the labels, integers or text; null where there is none")
    shape: tuple[Side, ...] | None = Field(
        None, description="(C, H, W) of images in lists of numbers, or in bytes one per number"
    )
