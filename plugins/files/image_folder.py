"""Folders of images, a folder per class or none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from genpipe.data import Part, Source
from genpipe.errors import DataError
from genpipe.plugins.files.config import ImageFolderConfig
from genpipe.plugins.files.encoded import Encoded, EncodedImages
from genpipe.plugins.files.paths import digest, find, opened, stem
from genpipe.plugins.files.suffixes import IMAGES

IMAGES_IN_PART = 512


@dataclass(frozen=True)
class ImageFolder(EncodedImages):
    """One part per 512 images, in the order of their paths."""

    config: ImageFolderConfig

    def list_parts(self) -> Iterable[Part]:
        files = find(self.config.path, IMAGES)
        by_folder = self.config.labels == "folder" and any("/" in file.name for file in files)
        if by_folder:
            loose = [file for file in files if "/" not in file.name]
            if loose:
                raise DataError(
                    f"{loose[0].address} lies in no folder with the name of its label, as "
                    f"{next(file.name for file in files if '/' in file.name)} does; for images without labels set "
                    "labels: null"
                )
        for start in range(0, len(files), IMAGES_IN_PART):
            chunk = files[start : start + IMAGES_IN_PART]
            named = [[file.address, file.name.split("/")[0] if by_folder else None] for file in chunk]
            yield Part(f"{chunk[0].address} … {chunk[-1].name}", named)

    def images(self, part: Part, *, content: bool) -> Iterator[Encoded]:
        for address, label in part.detail:
            yield Encoded(address, partial(opened, address), label)


def build(config: ImageFolderConfig, seed: int) -> Source:
    """The images of a folder. The seed has no part."""
    return ImageFolder(config, stem(config.path))


def fingerprint(config: ImageFolderConfig) -> str:
    return digest(stem(config.path), find(config.path, IMAGES))
