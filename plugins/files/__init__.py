"""Data sets read from files, local or at any address of fsspec: images, tables and arrays of numbers."""

from __future__ import annotations

from genpipe.components import Dataset, EventKind
from genpipe.hookspecs import hookimpl
from genpipe.plugins.files import suffixes


def _dataset(
    name: str, module: str, config: str, summary: str, *events: EventKind, suffixes: tuple[str, ...] = ()
) -> Dataset:
    return Dataset(
        name=name,
        summary=summary,
        config=f"genpipe.plugins.files.config:{config}",
        build=f"genpipe.plugins.files.{module}:build",
        fingerprint=f"genpipe.plugins.files.{module}:fingerprint",
        events=events,
        suffixes=suffixes,
    )


@hookimpl
def register_datasets() -> list[Dataset]:
    return [
        _dataset(
            "image_folder",
            "image_folder",
            "ImageFolderConfig",
            "a folder of PNG, JPEG, WebP, … images, labelled by the folders they lie in",
            "image",
            suffixes=suffixes.IMAGES,
        ),
        _dataset(
            "webdataset",
            "webdataset",
            "WebDatasetConfig",
            "images and labels in tars (WebDataset)",
            "image",
            suffixes=suffixes.TARS,
        ),
        _dataset(
            "parquet",
            "parquet",
            "ParquetConfig",
            "Parquet tables: columns of numbers, lists of numbers, or encoded images",
            "image",
            "vector",
            suffixes=suffixes.PARQUET,
        ),
        _dataset(
            "npz",
            "npz",
            "NpzConfig",
            "images or vectors in NumPy archives (.npz) or single arrays (.npy)",
            "image",
            "vector",
            suffixes=suffixes.ARRAYS,
        ),
        _dataset(
            "csv",
            "csv_table",
            "CsvConfig",
            "rows of numbers in CSV files with a header",
            "vector",
            suffixes=suffixes.TABLES,
        ),
        _dataset(
            "idx",
            "idx",
            "IdxConfig",
            "grey images in IDX files, plain or gzipped (MNIST's format)",
            "image",
        ),
        _dataset(
            "fashion_mnist",
            "fashion_mnist",
            "FashionMnistConfig",
            "70,000 photographs of clothes, 28×28 grey, 10 classes, from a folder",
            "image",
        ),
    ]
