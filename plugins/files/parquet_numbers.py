"""Numbers in Parquet tables: a column per dimension, or one column of lists that are vectors or images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from genpipe.data import Array, Part
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.plugins.files.blocks import rows_in_block
from genpipe.plugins.files.config import ParquetConfig
from genpipe.plugins.files.labels import TextLabels, names_of
from genpipe.plugins.files.parquet import (
    Columns,
    batches,
    columns_of,
    label_texts,
    num_rows,
    opened_parquet,
    parts_of,
)
from genpipe.plugins.files.paths import stem
from genpipe.plugins.files.source import FileSource
from genpipe.plugins.files.values import spec_of


@dataclass(frozen=True)
class ParquetNumbers(FileSource):
    """One part per row group. x: (N, D) or (N, C, H, W); y: (N,), the rank of the label among all labels, or None."""

    config: ParquetConfig

    def list_parts(self) -> Iterable[Part]:
        return parts_of(self.config)

    def survey(self, part: Part) -> dict[str, Any]:
        with opened_parquet(part.address) as table:
            columns = columns_of(table, part.address, self.config)
            num, schema = num_rows(table, part), table.schema_arrow
        survey: dict[str, Any] = {"num": num, "where": part.address, "shape": None, "dtype": None, "labels": []}
        if num:
            shape, dtype = self._shape_and_type(part, schema, columns)
            survey |= {"shape": list(shape), "dtype": dtype.str}
        if columns.label is not None:
            labels = TextLabels(f"{part.address}, column '{columns.label}'")
            for row, batch in batches(part, [columns.label], 65_536):
                labels.add(label_texts(batch, columns, part.address, row))
            survey["labels"] = sorted(labels.texts)
        return survey

    def _shape_and_type(self, part: Part, schema: pa.Schema, columns: Columns) -> tuple[tuple[int, ...], np.dtype[Any]]:
        types = [schema.field(name).type for name in columns.names]
        if columns.kind == "numbers" and not pa.types.is_nested(types[0]):
            dtype = np.result_type(*(kind.to_pandas_dtype() for kind in types))
            return (len(types),), np.dtype(np.uint8) if dtype == np.bool_ else dtype
        row, batch = next(batches(part, columns.names, 1))  # how long lists are, only they tell
        x = self._examples(batch, columns, part.address, row)
        return x.shape[1:], x.dtype

    def spec(self, surveys: Sequence[dict[str, Any]]) -> DataSpec:
        filled = [survey for survey in surveys if survey["shape"] is not None]
        if not filled:
            raise DataError(f"{self.config.path} has no rows")
        alike = filled[0]
        for survey in filled:
            for what in ("shape", "dtype"):
                if survey[what] != alike[what]:
                    raise DataError(
                        f"{survey['where']} has examples of {what} {survey[what]}, expected {alike[what]} as in "
                        f"{alike['where']}"
                    )
        names = names_of(surveys, f"{self.config.path}: labels")
        return spec_of(
            stem(self.config.path),
            tuple(alike["shape"]),
            np.dtype(alike["dtype"]),
            self.config,
            alike["where"],
            num_classes=len(names) or None,
            class_names=names,
        )

    def read(self, part: Part, spec: DataSpec) -> Iterator[tuple[Array, Array | None]]:
        with opened_parquet(part.address) as table:
            columns = columns_of(table, part.address, self.config)
        ranks = {name: rank for rank, name in enumerate(spec.class_names)}
        wanted = [*columns.names, *([columns.label] if columns.label is not None else [])]
        for row, batch in batches(part, wanted, rows_in_block(spec.shape, np.float64)):
            x = self._examples(batch, columns, part.address, row)
            if x.shape[1:] != spec.shape:
                raise DataError(f"{part.address}, row {row}: shape {x.shape[1:]}, expected {spec.shape}")
            y = None
            if columns.label is not None:
                texts = label_texts(batch, columns, part.address, row)
                new = next((text for text in texts if text not in ranks), None)
                if new is not None:
                    raise DataError(f"{part.address} has the label '{new}', which was not there before: it has changed")
                y = np.array([ranks[text] for text in texts], dtype=np.int64)
            yield x, y

    def _examples(self, batch: pa.RecordBatch, columns: Columns, address: str, row: int) -> Array:
        """(n, D) or (n, C, H, W) in the table's own type; DataError names the first row that is empty or of other size."""
        for name in columns.names:
            _no_nulls(batch.column(name), f"column '{name}'", address, row)
        name = columns.names[0]
        where = f"column '{name}'"
        if columns.kind == "bytes":
            x = _unpacked(batch.column(name).to_pylist(), columns, where, address, row)
        elif pa.types.is_nested(batch.column(name).type):
            x = _dense(batch.column(name), where, address, row)
        else:
            x = np.stack([batch.column(name).to_numpy(zero_copy_only=False) for name in columns.names], axis=1)
        if x.dtype == np.bool_:
            x = x.astype(np.uint8)
        return self._shaped(x, f"{address}, {where}")

    def _shaped(self, x: Array, where: str) -> Array:
        if self.config.shape is not None:
            if math.prod(self.config.shape) != math.prod(x.shape[1:]) or len(self.config.shape) not in (1, 3):
                raise DataError(f"{where} holds {x.shape[1:]} numbers a row, which is not shape {self.config.shape}")
            return x.reshape(len(x), *self.config.shape)
        if x.ndim == 3:
            return x[:, None]
        if x.ndim not in (2, 4):
            raise DataError(f"{where} holds {x.shape[1:]} numbers a row, expected (D,), (H, W) or (C, H, W)")
        return x


def _unpacked(packed: Sequence[bytes], columns: Columns, where: str, address: str, row: int) -> Array:
    """The numbers that lie one after the other in bytes."""
    assert columns.shape is not None
    dtype = np.dtype(columns.dtype)
    size = math.prod(columns.shape) * dtype.itemsize
    for i, content in enumerate(packed):
        if len(content) != size:
            raise DataError(f"{address}, row {row + i}, {where}: {len(content)} bytes, expected {size}")
    return np.frombuffer(b"".join(packed), dtype).reshape(len(packed), *columns.shape)


def _no_nulls(values: pa.Array, where: str, address: str, row: int) -> None:
    if values.null_count:
        first = pc.index(pc.is_null(values), True).as_py()
        raise DataError(f"{address}, row {row + first}, {where}: nothing, expected a value")


def _dense(values: pa.Array, where: str, address: str, row: int) -> Array:
    """Nested lists as one array, once all are of the same size."""
    shape = [len(values)]
    each = 1  # lists at this depth that belong to a row
    while pa.types.is_nested(values.type):
        lengths = pc.list_value_length(values).to_numpy(zero_copy_only=False)
        length = int(lengths[0]) if len(lengths) else 0
        if (lengths != length).any():
            odd = int((lengths != length).argmax())
            raise DataError(f"{address}, row {row + odd // each}, {where}: {lengths[odd]} numbers, expected {length}")
        shape.append(length)
        each *= max(length, 1)
        values = values.flatten()
        if values.null_count:
            odd = pc.index(pc.is_null(values), True).as_py()
            raise DataError(f"{address}, row {row + odd // each}, {where}: holds nothing at {odd % each}")
    return values.to_numpy(zero_copy_only=False).reshape(shape)
