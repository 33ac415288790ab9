"""Fashion-MNIST (Xiao et al., 2017): four IDX files in a folder that the user has; nothing is downloaded."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from genpipe.data import RawData
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.plugins.files.config import FashionMnistConfig
from genpipe.plugins.files.idx import read_pair
from genpipe.plugins.files.paths import digest

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
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


def candidate(folder: Path, stem: str) -> Path | None:
    """The file of that stem in a folder, gzipped or plain."""
    return next((p for p in (folder / f"{stem}.gz", folder / stem) if p.is_file()), None)


def find_folder(config: FashionMnistConfig) -> Path:
    """Where the files are; DataError lists the places that were looked at."""
    if config.folder is not None:
        places = [config.folder.expanduser()]
    else:
        given = os.environ.get("GENPIPE_DATA")
        places = [Path(given).expanduser(), Path(given).expanduser() / "fashion-mnist"] if given else []
        places.append(DEBIAN_FOLDER)
    for place in places:
        if candidate(place, "train-images-idx3-ubyte") or candidate(place, "t10k-images-idx3-ubyte"):
            return place
    raise DataError(
        f"no Fashion-MNIST in {' or '.join(map(str, places))}: expected train-images-idx3-ubyte.gz and the three others. "
        "Set the option folder or the variable GENPIPE_DATA, or install Debian's package dataset-fashion-mnist"
    )


def find_files(config: FashionMnistConfig) -> list[tuple[Path, Path]]:
    """(images, labels) of each part that is asked for."""
    folder, pairs = find_folder(config), []
    for prefix in PARTS[config.part]:
        stems = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
        found = [candidate(folder, stem) for stem in stems]
        if found[0] is None or found[1] is None:
            missing = stems[0] if found[0] is None else stems[1]
            raise DataError(f"{folder} has no {missing}.gz, nor {missing}")
        pairs.append((found[0], found[1]))
    return pairs


def build(config: FashionMnistConfig, seed: int) -> RawData:
    """x: (N, 1, 28, 28) uint8, 256 levels; y: (N,), the kind of clothing. The seed has no part."""
    pairs = [read_pair(images, labels) for images, labels in find_files(config)]
    x = np.concatenate([x for x, _ in pairs])[: config.limit]
    y = np.concatenate([y for _, y in pairs if y is not None])[: config.limit]
    spec = DataSpec(
        name="fashion_mnist",
        event="image",
        shape=tuple(x.shape[1:]),
        levels=256,
        num_classes=10,
        class_names=CLASS_NAMES,
    )
    return RawData(spec, x, y).checked()


def fingerprint(config: FashionMnistConfig) -> str:
    return digest([path for pair in find_files(config) for path in pair])
