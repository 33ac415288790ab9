"""NumPy archives. Object arrays are refused: reading one would run code from the file."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from genpipe.data import Array, RawData
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError, nearest
from genpipe.plugins.files.config import NpzConfig
from genpipe.plugins.files.paths import digest, existing


def read_array(path: Path, name: str) -> Array:
    """The array `name` of an archive; DataError where it is not there, damaged, or holds Python objects."""
    damaged = f"{path} is no NumPy archive, or is damaged"
    try:
        with path.open("rb") as file:
            if file.read(6) == b"\x93NUMPY":
                raise DataError(f"{path} is a single array (.npy), expected an archive (.npz)")
            if not zipfile.is_zipfile(file):  # asked first: NumPy takes anything else for a pickle
                raise DataError(damaged)
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                if name not in archive.files:
                    raise DataError(f"{path} has no array '{name}'{nearest(name, archive.files)}")
                return np.asarray(archive[name])
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise DataError(f"{path}: '{name}' holds Python objects, which are never read; save numbers") from None
        raise DataError(f"{damaged}: {error}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError, NotImplementedError) as error:
        raise DataError(f"{damaged}: {error}") from None


def build(config: NpzConfig, seed: int) -> RawData:
    """x: (N, D), or (N, C, H, W) with a channel added to (N, H, W); y: (N,) or None. The seed has no part."""
    path = existing(config.path)
    x = read_array(path, config.x)[: config.limit]
    if x.dtype.kind not in "uif":
        raise DataError(f"{path}: '{config.x}' has type {x.dtype}, expected numbers")
    if x.ndim not in (2, 3, 4):
        raise DataError(f"{path}: '{config.x}' has shape {x.shape}, expected (N, D), (N, H, W) or (N, C, H, W)")
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and config.channels_last:
        x = np.moveaxis(x, 3, 1)
    image = x.ndim == 4
    levels, low, high = config.levels, config.low, config.high
    if image and levels is None and low is None:
        if x.dtype == np.uint8:
            levels = 256
        elif x.dtype.kind == "f":
            low, high = 0.0, 1.0
        else:
            raise DataError(f"{path}: '{config.x}' has type {x.dtype}: say how many levels there are (levels)")
    y = None
    if config.y is not None:
        y = read_array(path, config.y)[: config.limit]
        if y.dtype.kind not in "ui" or y.shape != (len(x),):
            raise DataError(
                f"{path}: '{config.y}' has shape {y.shape} and type {y.dtype}, expected ({len(x)},) integers"
            )
        if len(y) and y.min() < 0:
            raise DataError(f"{path}: '{config.y}' has the label {y.min()}, expected 0 or more")
    spec = DataSpec(
        name=path.stem,
        event="image" if image else "vector",
        shape=tuple(x.shape[1:]),
        levels=levels,
        low=low,
        high=high,
        num_classes=int(y.max()) + 1 if y is not None and len(y) else None,
    )
    data = RawData(spec, x, None if y is None else y.astype(np.int64)).checked()
    return RawData(spec, data.x.astype(spec.dtype), data.y)


def fingerprint(config: NpzConfig) -> str:
    return digest([config.path])
