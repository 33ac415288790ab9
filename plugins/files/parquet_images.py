"""Encoded images in a column of Parquet tables: bytes, or bytes with their path, as `datasets` writes them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from genpipe.data import Part
from genpipe.errors import DataError
from genpipe.plugins.files.config import ParquetConfig
from genpipe.plugins.files.encoded import Encoded, EncodedImages
from genpipe.plugins.files.parquet import batches, columns_of, label_texts, opened_parquet, parts_of

IMAGES_IN_BATCH = 64


@dataclass(frozen=True)
class ParquetImages(EncodedImages):
    """One part per row group; examples in the order of the rows."""

    config: ParquetConfig

    def list_parts(self) -> Iterable[Part]:
        return parts_of(self.config)

    def images(self, part: Part, *, content: bool) -> Iterator[Encoded]:
        with opened_parquet(part.address) as table:
            columns = columns_of(table, part.address, self.config)
        if columns.kind != "images":
            raise DataError(f"{part.address}: column '{columns.names[0]}' holds no images, as in the first table")
        labelled = [] if columns.label is None else [columns.label]
        for row, batch in batches(part, [*columns.names, *labelled] if content else labelled, IMAGES_IN_BATCH):
            texts = label_texts(batch, columns, part.address, row) if labelled else None
            values = batch.column(columns.names[0]).to_pylist() if content else [None] * batch.num_rows
            for i, value in enumerate(values):
                where = f"{part.address}, row {row + i}, column '{columns.names[0]}'"
                packed = value.get("bytes") if isinstance(value, dict) else value
                if content and not packed:
                    given = "only the path of an image" if isinstance(value, dict) else "nothing"
                    raise DataError(f"{where}: {given}, expected its bytes")
                yield Encoded(where, partial(io.BytesIO, packed or b""), None if texts is None else texts[i])
