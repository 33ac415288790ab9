"""Files for the tests of what reads them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from genpipe.config import Config
from genpipe.data import RawData, Source, read_whole


def whole(module: Any, config: Config) -> RawData:
    """What a module builds, in memory."""
    data = module.build(config, 0)
    return read_whole(data) if isinstance(data, Source) else data


def encoded(x: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    """An image file of x: (H, W) or (H, W, 3), uint8."""
    stream = io.BytesIO()
    Image.fromarray(x).save(stream, kind, **options)
    return stream.getvalue()


def write_tar(path: Path, members: Sequence[tuple[str, bytes]], mode: str = "w") -> None:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def write_parquet(path: Path, columns: Mapping[str, Any], *, rows: int = 1000, **options: Any) -> None:
    """A table with so many rows in a row group."""
    parquet.write_table(pa.table(dict(columns)), path, row_group_size=rows, **options)
