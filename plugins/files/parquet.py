"""Parquet: columns of numbers, lists of numbers, or encoded images; a part per row group."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
from pyarrow import parquet

from genpipe.data import Part, Source
from genpipe.errors import DataError, first_line, nearest
from genpipe.plugins.files.config import ParquetConfig
from genpipe.plugins.files.paths import digest, find, opened, stem
from genpipe.plugins.files.suffixes import PARQUET

PART_PER_FILE = 64
"""From so many files on a part is a file: they are enough to share, and not every footer is read to list them."""


@contextmanager
def opened_parquet(address: str) -> Iterator[parquet.ParquetFile]:
    """The table at an address; DataError where it is none or is damaged, also while it is read."""
    with opened(address) as file:
        try:
            # Buffered, so that a column of a large row group is read bit by bit.
            with parquet.ParquetFile(file, buffer_size=2**20, pre_buffer=False) as table:
                yield table
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(f"{address} is no Parquet table, or is damaged: {first_line(error)}") from error


def parts_of(config: ParquetConfig) -> list[Part]:
    """A part per row group, with its number and its first row in the file; or per file, where these are many."""
    files = find(config.path, PARQUET)
    if len(files) >= PART_PER_FILE:
        return [Part(file.address) for file in files]
    parts = []
    for file in files:
        with opened_parquet(file.address) as table:
            row = 0
            for group in range(table.num_row_groups):
                parts.append(Part(file.address, [group, row]))
                row += table.metadata.row_group(group).num_rows
    return parts


@dataclass(frozen=True)
class Columns:
    """What is read of a table.

    names: columns that make an example; kind: "numbers", "bytes" or "images"; label: the column with the labels;
    label_names: what its integers stand for, where the table says so; shape, dtype: of the numbers in "bytes".
    """

    names: tuple[str, ...]
    kind: str
    label: str | None
    label_names: tuple[str, ...] | None
    shape: tuple[int, ...] | None
    dtype: str


def columns_of(table: parquet.ParquetFile, address: str, config: ParquetConfig) -> Columns:
    """The columns that the options name, once they can be an example; DataError says which cannot."""
    schema = table.schema_arrow
    own = _own(schema)
    label = "y" if own and config.label is None and "y" in schema.names else config.label
    names = config.columns or tuple(name for name in schema.names if name != label)
    if not names:
        raise DataError(f"{address} has no column but the label '{label}'")
    for name in [*names, *([label] if label is not None else [])]:
        if name not in schema.names:
            raise DataError(f"{address} has no column '{name}'{nearest(name, schema.names)}")
        if schema.names.count(name) > 1:
            raise DataError(f"{address} has {schema.names.count(name)} columns named '{name}'")
    shape, dtype = own or (config.shape, "uint8")
    kinds = {name: _kind(schema.field(name).type, shape is not None) for name in names}
    for name, kind in kinds.items():
        if kind is None:
            raise DataError(
                f"{address}: column '{name}' is of type {schema.field(name).type}, expected numbers, lists of numbers "
                "or images; say which columns make an example (columns)"
            )
    if len(names) > 1 and set(kinds.values()) != {"numbers"}:
        other = next(name for name in names if kinds[name] != "numbers")
        raise DataError(
            f"{address}: columns {', '.join(names)} cannot be one example, as '{other}' holds {kinds[other]}; say which "
            "one makes it (columns) and which is the label (label)"
        )
    kind = kinds[names[0]] or "numbers"
    return Columns(
        tuple(names),
        "numbers" if kind == "lists" else kind,
        label,
        _label_names(schema, label),
        tuple(shape) if shape else None,
        dtype,
    )


def _own(schema: pa.Schema) -> tuple[Sequence[int], str] | None:
    """Shape and type of the examples in a shard that the stage `data` wrote; None for tables of others."""
    about = (schema.metadata or {}).get(b"genpipe")
    if about is None:
        return None
    fields = json.loads(about)
    return fields["shape"], fields["dtype"]


def _kind(kind: pa.DataType, has_shape: bool) -> str | None:
    if _is_number(kind):
        return "numbers"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return "bytes" if has_shape else "images"
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return "images"
    nested = False
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind, nested = kind.value_type, True
    return "lists" if nested and _is_number(kind) else None


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _label_names(schema: pa.Schema, label: str | None) -> tuple[str, ...] | None:
    """Names of the classes that a column of integers stands for, where the table was written by `datasets`."""
    try:
        described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        return tuple(str(name) for name in described["info"]["features"][label]["names"])
    except (ValueError, KeyError, TypeError):
        return None


def batches(part: Part, columns: Sequence[str], size: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(number of the first row in the file, batch of up to `size` rows) of a part."""
    group, row = part.detail or (None, 0)
    with opened_parquet(part.address) as table:
        groups = range(table.num_row_groups) if group is None else [group]
        for batch in table.iter_batches(size, row_groups=list(groups), columns=list(columns), use_threads=False):
            yield row, batch
            row += batch.num_rows


def num_rows(table: parquet.ParquetFile, part: Part) -> int:
    return int(table.metadata.num_rows if part.detail is None else table.metadata.row_group(part.detail[0]).num_rows)


def label_texts(batch: pa.RecordBatch, columns: Columns, where: str, row: int) -> list[str]:
    """The texts of a batch's labels; DataError names the row of one that is missing or is no label."""
    assert columns.label is not None
    try:
        values = batch.column(columns.label).to_pylist()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}, column '{columns.label}' holds what is no text in UTF-8: {error}") from error
    texts = []
    for i, value in enumerate(values):
        if not isinstance(value, str | int):
            raise DataError(
                f"{where}, row {row + i}, column '{columns.label}': {value!r} is no label, expected text or a whole number"
            )
        names = columns.label_names
        if names is not None and isinstance(value, int):
            if not 0 <= value < len(names):
                raise DataError(
                    f"{where}, row {row + i}, column '{columns.label}': {value}, expected 0 … {len(names) - 1}"
                )
            value = names[value]
        texts.append(str(value).strip())
    return texts


def build(config: ParquetConfig, seed: int) -> Source:
    """Tables whose columns are numbers or images. The seed has no part."""
    from genpipe.plugins.files.parquet_images import ParquetImages
    from genpipe.plugins.files.parquet_numbers import ParquetNumbers

    address = find(config.path, PARQUET)[0].address
    with opened_parquet(address) as table:
        kind = columns_of(table, address, config).kind
    return ParquetImages(config, stem(config.path)) if kind == "images" else ParquetNumbers(config)


def fingerprint(config: ParquetConfig) -> str:
    return digest(stem(config.path), find(config.path, PARQUET))
