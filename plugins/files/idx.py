"""IDX files: a magic number with type and rank, the sizes, then the values, all big-endian (LeCun, MNIST's page)."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from genpipe.data import Array, RawData
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.plugins.files.config import IdxConfig
from genpipe.plugins.files.paths import digest, existing

UINT8 = 0x08


def read_idx(path: Path, rank: int) -> Array:
    """The uint8 array of `rank` dimensions in an IDX file, plain or gzipped; DataError where it is not whole."""
    path = existing(path)
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path} is damaged: {error}") from None
    header = 4 + 4 * rank
    if len(content) < header:
        raise DataError(f"{path} has {len(content)} bytes, too few for an IDX file")
    zeros, kind, given_rank = struct.unpack(">HBB", content[:4])
    if zeros != 0 or kind != UINT8 or given_rank != rank:
        raise DataError(
            f"{path} begins with 0x{content[:4].hex()}, expected 0x0000{UINT8:02x}{rank:02x}: IDX bytes in {rank} dimensions"
        )
    shape = struct.unpack(f">{rank}I", content[4:header])
    if len(content) - header != math.prod(shape):
        raise DataError(
            f"{path} holds {len(content) - header} values, its header says {' × '.join(map(str, shape))}: truncated?"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def read_pair(images: Path, labels: Path | None) -> tuple[Array, Array | None]:
    """x (N, 1, H, W) uint8 and y (N,) int64, once they agree in number."""
    x = read_idx(images, 3)[:, None]
    if labels is None:
        return x, None
    y = read_idx(labels, 1).astype(np.int64)
    if len(y) != len(x):
        raise DataError(f"{labels} has {len(y)} labels, {images} has {len(x)} images")
    return x, y


def build(config: IdxConfig, seed: int) -> RawData:
    """x: (N, 1, H, W) uint8, 256 levels; y: (N,) or None. The seed has no part."""
    x, y = read_pair(config.images, config.labels)
    spec = DataSpec(
        name=config.images.name.split(".")[0],
        event="image",
        shape=tuple(x.shape[1:]),
        levels=256,
        num_classes=int(y.max()) + 1 if y is not None and len(y) else None,
    )
    return RawData(spec, x[: config.limit], None if y is None else y[: config.limit])


def fingerprint(config: IdxConfig) -> str:
    return digest([config.images, *([config.labels] if config.labels else [])])
