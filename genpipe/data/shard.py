"""One shard: a Parquet file that any tool reads, and whose examples also lie at known places as plain bytes.

Columns are x, an example's bytes as FIXED_LEN_BYTE_ARRAY, and y, INT64, where there are labels. Both are required,
plain and uncompressed, in one row group of one data page each. So a column is one run of bytes in the file: row i of x
is at `x_offset + i · width`, read with one call and no decoding.
"""

from __future__ import annotations

import inspect
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from genpipe.data.raw import Array
from genpipe.errors import GenpipeError

MAGIC = b"PAR1"
SHARD_BYTES = 64 << 20
LABEL_BYTES = 8


@dataclass(frozen=True)
class Shard:
    """A shard as splits.json lists it. file: relative path; num: rows; bytes: the file's size; offsets: of row 0."""

    file: str
    num: int
    bytes: int
    x_offset: int
    y_offset: int | None = None


def rows_per_shard(width: int) -> int:
    """Examples of `width` bytes that fill a shard."""
    return max(1, SHARD_BYTES // (width + LABEL_BYTES))


def write_shard(folder: Path, file: str, x: Array, y: Array | None) -> Shard:
    """Writes x (n, *shape), n at least 1, and y (n,) or None, synced; every shard is checked for its layout."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    num, width = len(x), x.nbytes // len(x)
    flat = np.ascontiguousarray(x)
    columns = [pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), num, [None, pa.py_buffer(flat)])]
    fields = [pa.field("x", pa.binary(width), nullable=False)]
    if y is not None:
        columns.append(pa.array(y.astype(np.int64, copy=False)))
        fields.append(pa.field("y", pa.int64(), nullable=False))
    about = json.dumps({"dtype": x.dtype.name, "shape": list(x.shape[1:])})
    schema = pa.schema(fields, metadata={"genpipe": about})
    path = folder / file
    with path.open("wb") as sink:
        with pq.ParquetWriter(sink, schema, **_options(num)) as writer:
            writer.write_table(pa.table(columns, schema=schema), row_group_size=num)
        sink.flush()
        os.fsync(sink.fileno())
    group = pq.read_metadata(path).row_group(0)
    offsets = [_offset(group.column(k), num * size) for k, size in enumerate((width, LABEL_BYTES)[: len(columns)])]
    shard = Shard(file, num, path.stat().st_size, *offsets)
    with path.open("rb") as written:
        for row in (0, num - 1):
            written.seek(shard.x_offset + row * width)
            if written.read(width) != flat[row].tobytes():
                raise GenpipeError(f"{path}: this pyarrow, {pa.__version__}, does not write a column as one page")
    return shard


def _offset(column: Any, nbytes: int) -> int:
    """Where a column's values begin: its one page ends with them."""
    return int(column.data_page_offset + column.total_compressed_size - nbytes)


def _options(num: int) -> dict[str, Any]:
    options = {
        "compression": "NONE",
        "use_dictionary": False,
        "column_encoding": "PLAIN",
        "data_page_version": "1.0",
        "data_page_size": 2**31 - 1,
        "write_batch_size": num,
        "write_statistics": False,
        "write_page_checksum": True,
    }
    return options | ({"max_rows_per_page": num} if _has_rows_per_page() else {})


@cache
def _has_rows_per_page() -> bool:
    import pyarrow.parquet as pq

    return "max_rows_per_page" in inspect.signature(pq.ParquetWriter.__init__).parameters
