"""Fashion-MNIST (Xiao et al., 2017): four IDX files in a folder that the user has; nothing is downloaded."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from genpipe.data import Part, RawData, Source
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.plugins.files.address import absolute
from genpipe.plugins.files.blocks import first
from genpipe.plugins.files.config import FashionMnistConfig
from genpipe.plugins.files.idx import Pairs, image_spec
from genpipe.plugins.files.paths import File, digest, exists, only

DEBIAN_FOLDER = "/usr/share/datasets/fashion-mnist"
PARTS = {"train": ("train",), "test": ("t10k",), "all": ("train", "t10k")}
CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def candidate(folder: str, name: str) -> File | None:
    """The file of that name in a folder, gzipped or plain."""
    return next((only(place) for place in (f"{folder}/{name}.gz", f"{folder}/{name}") if exists(place)), None)


def find_folder(config: FashionMnistConfig) -> str:
    """Where the files are; DataError lists the places that were looked at."""
    if config.folder is not None:
        places = [config.folder]
    else:
        given = os.environ.get("GENPIPE_DATA")
        places = [absolute(given), f"{absolute(given)}/fashion-mnist"] if given else []
        places.append(str(DEBIAN_FOLDER))
    for place in places:
        if candidate(place, "train-images-idx3-ubyte") or candidate(place, "t10k-images-idx3-ubyte"):
            return place
    raise DataError(
        f"no Fashion-MNIST in {' or '.join(places)}: expected train-images-idx3-ubyte.gz and the three others. "
        "Set the option folder or the variable GENPIPE_DATA, or install Debian's package dataset-fashion-mnist"
    )


def find_files(config: FashionMnistConfig) -> list[tuple[File, File]]:
    """(images, labels) of each part that is asked for."""
    folder, pairs = find_folder(config), []
    for prefix in PARTS[config.part]:
        names = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
        images, labels = (candidate(folder, name) for name in names)
        if images is None or labels is None:
            missing = names[0] if images is None else names[1]
            raise DataError(f"{folder} has no {missing}.gz, nor {missing}")
        pairs.append((images, labels))
    return pairs


@dataclass(frozen=True)
class FashionMnist(Pairs):
    """x: (N, 1, 28, 28) uint8, 256 levels; y: (N,), the kind of clothing."""

    config: Any

    def list_parts(self) -> Iterable[Part]:
        return [Part(images.address, labels.address) for images, labels in find_files(self.config)]

    def spec(self, surveys: Sequence[dict[str, Any]]) -> DataSpec:
        for survey in surveys:
            if survey["max_label"] >= len(CLASS_NAMES):
                raise DataError(f"{survey['where']}: the label {survey['max_label']}, expected 0 … 9")
        return dataclasses.replace(
            image_spec("fashion_mnist", surveys, len(CLASS_NAMES)),
            class_names=CLASS_NAMES,
        )


def build(config: FashionMnistConfig, seed: int) -> Source | RawData:
    """The parts that are asked for, or their first examples where there is a limit. The seed has no part."""
    return first(FashionMnist(config), config.limit)


def fingerprint(config: FashionMnistConfig) -> str:
    return digest("fashion_mnist", [file for pair in find_files(config) for file in pair])
