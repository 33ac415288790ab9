"""Sources whose examples are encoded images, one by one: from folders, tars, or a column of a table."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Any

from genpipe.data import Array, Part
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.plugins.files.blocks import stacked
from genpipe.plugins.files.config import ImageOptions
from genpipe.plugins.files.images import DamagedImage, decoded, height_and_width
from genpipe.plugins.files.labels import TextLabels, names_of
from genpipe.plugins.files.source import FileSource

log = logging.getLogger("genpipe.data")
MAX_NAMED = 3


@dataclass(frozen=True)
class Encoded:
    """An encoded image. where: what messages call it; open: gives its bytes; label: its label's text, if it has one."""

    where: str
    open: Callable[[], AbstractContextManager[IO[bytes]]]
    label: str | None = None


@dataclass(frozen=True)
class EncodedImages(FileSource):
    """x: (N, C, H, W) uint8, 256 levels; y: (N,), the rank of the label among all labels, or None."""

    config: ImageOptions
    name: str

    @abstractmethod
    def images(self, part: Part, *, content: bool) -> Iterator[Encoded]:
        """A part's images, in order. content: whether they will be opened, each before the next is asked for."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.config, self.name)

    def survey(self, part: Part) -> dict[str, Any]:
        """num, labels; first, size, other: the first image, its size, and the first that differs from it."""
        labels = TextLabels(f"{part.address}: labels")
        num = num_labelled = 0
        first, size, other, skipped = None, None, None, []
        skip = self.config.on_error == "skip"
        for image in self.images(part, content=skip or self.config.size is None):
            if skip:
                try:
                    self._decoded(image)
                except DamagedImage as error:
                    skipped.append(str(error))
                    continue
            if self.config.size is None and other is None:
                with image.open() as file:
                    found = height_and_width(file, image.where)
                if size is None:
                    first, size = image.where, found
                elif found != size:
                    other = [image.where, *found]
            num += 1
            if image.label is not None:
                num_labelled += 1
                labels.add((image.label,))
        survey = {"num": num, "labels": sorted(labels.texts), "num_labelled": num_labelled, "first": first}
        return survey | {
            "size": size and list(size),
            "other": other,
            "num_skipped": len(skipped),
            "skipped": skipped[:MAX_NAMED],
        }

    def spec(self, surveys: Sequence[dict[str, Any]]) -> DataSpec:
        self._tell_of_skipped(surveys)
        names = names_of(surveys, f"{self.name}: labels")
        num, labelled = (sum(survey[key] for survey in surveys) for key in ("num", "num_labelled"))
        if 0 < labelled < num:
            raise DataError(f"{self.name}: {num - labelled} of {num} images have no label")
        channels = 3 if self.config.mode == "RGB" else 1
        return DataSpec(
            name=self.name,
            event="image",
            shape=(channels, *self._size(surveys)),
            levels=256,
            num_classes=len(names) or None,
            class_names=names,
        )

    def _size(self, surveys: Sequence[dict[str, Any]]) -> tuple[int, int]:
        if self.config.height_and_width is not None:
            return self.config.height_and_width
        sized = [survey for survey in surveys if survey["size"]]
        if not sized:
            raise DataError(f"{self.name} has no image that can be read")
        first, (height, width) = sized[0]["first"], sized[0]["size"]
        for survey in sized:
            other = [survey["first"], *survey["size"]] if survey["size"] != [height, width] else survey["other"]
            if other:
                raise DataError(
                    f"{other[0]} is {other[1]} × {other[2]} pixels, {first} is {height} × {width}: "
                    f"set the option size, such as size: {min(height, width)}, to bring all to one"
                )
        return height, width

    def _tell_of_skipped(self, surveys: Sequence[dict[str, Any]]) -> None:
        num = sum(survey["num_skipped"] for survey in surveys)
        if num:
            named = [text for survey in surveys for text in survey["skipped"]][:MAX_NAMED]
            more = f"; and {num - len(named)} more" if num > len(named) else ""
            total = num + sum(survey["num"] for survey in surveys)
            log.warning("%s: %d of %d images left out: %s%s", self.name, num, total, "; ".join(named), more)

    def read(self, part: Part, spec: DataSpec) -> Iterator[tuple[Array, Array | None]]:
        return stacked(self._examples(part, spec), spec)

    def _examples(self, part: Part, spec: DataSpec) -> Iterable[tuple[Array, int | None]]:
        ranks = {name: rank for rank, name in enumerate(spec.class_names)}
        for image in self.images(part, content=True):
            try:
                x = self._decoded(image)
            except DamagedImage as error:
                if self.config.on_error == "raise":
                    raise DataError(f"{error}; on_error: skip leaves out what cannot be read") from error
                continue  # counted by the survey, told by the spec
            if x.shape != spec.shape:
                raise DataError(f"{image.where} has shape {x.shape}, expected {spec.shape}: it has changed")
            if image.label is not None and image.label not in ranks:
                raise DataError(f"{image.where} has the label '{image.label}', which was not there before")
            yield x, None if image.label is None else ranks[image.label]

    def _decoded(self, image: Encoded) -> Array:
        with image.open() as file:
            return decoded(file, image.where, self.config)
