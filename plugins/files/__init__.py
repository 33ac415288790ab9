"""Data sets read from files: NumPy archives, CSV tables, IDX images (MNIST's format)."""

from __future__ import annotations

from genpipe.components import Dataset
from genpipe.hookspecs import hookimpl

NPZ = Dataset(
    name="npz",
    summary="images or vectors in a NumPy archive (.npz)",
    config="genpipe.plugins.files.config:NpzConfig",
    build="genpipe.plugins.files.npz:build",
    fingerprint="genpipe.plugins.files.npz:fingerprint",
    events=("image", "vector"),
)

CSV = Dataset(
    name="csv",
    summary="rows of numbers in a CSV file with a header",
    config="genpipe.plugins.files.config:CsvConfig",
    build="genpipe.plugins.files.csv_table:build",
    fingerprint="genpipe.plugins.files.csv_table:fingerprint",
    events=("vector",),
)

IDX = Dataset(
    name="idx",
    summary="grey images in IDX files, plain or gzipped (MNIST's format)",
    config="genpipe.plugins.files.config:IdxConfig",
    build="genpipe.plugins.files.idx:build",
    fingerprint="genpipe.plugins.files.idx:fingerprint",
    events=("image",),
)

FASHION_MNIST = Dataset(
    name="fashion_mnist",
    summary="70,000 photographs of clothes, 28×28 grey, 10 classes, from a local folder",
    config="genpipe.plugins.files.config:FashionMnistConfig",
    build="genpipe.plugins.files.fashion_mnist:build",
    fingerprint="genpipe.plugins.files.fashion_mnist:fingerprint",
    events=("image",),
)


@hookimpl
def register_datasets() -> list[Dataset]:
    return [NPZ, CSV, IDX, FASHION_MNIST]
