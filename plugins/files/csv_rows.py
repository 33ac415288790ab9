"""The rows of one CSV file: Arrow's reader, which is fast, and Python's, which says where a mistake is."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from genpipe.data import Array
from genpipe.errors import DataError, nearest
from genpipe.plugins.files.config import CsvConfig
from genpipe.plugins.files.paths import opened

BLOCK_BYTES = 4 * 2**20
BLOCK_ROWS = 4096
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Layout:
    """What the header of a file says: its columns, and the places in it of those that are read."""

    address: str
    delimiter: str
    header: tuple[str, ...]
    lines: int
    columns: tuple[str, ...]
    places: tuple[int, ...]
    label_place: int | None


@dataclass(frozen=True)
class Block:
    """Some rows. x: (num, D) float32, of no columns where numbers were not asked for; labels: their texts, or None."""

    num: int
    x: Array
    labels: Sequence[str] | None


@contextmanager
def _reader(address: str, delimiter: str) -> Iterator[Any]:
    with opened(address, "infer") as file:
        try:
            text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
            yield csv.reader(text, delimiter=delimiter, strict=True)
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{address} is no CSV text in UTF-8: {error}") from error


def layout(address: str, config: CsvConfig) -> Layout:
    """The file's header; DataError where it has not the columns that are asked for."""
    with _reader(address, config.delimiter) as reader:
        header = [name.strip() for name in next(reader, [])]
        lines = reader.line_num
    if not header:
        raise DataError(f"{address} is empty, expected a row of column names")
    wanted = list(config.columns) if config.columns else [name for name in header if name != config.label]
    if not wanted:
        raise DataError(f"{address} has no column but the label '{config.label}'")
    for name in [*wanted, *([config.label] if config.label is not None else [])]:
        if name not in header:
            raise DataError(f"{address} has no column '{name}'{nearest(name, header)}")
        if header.count(name) > 1:
            raise DataError(f"{address} has {header.count(name)} columns named '{name}'")
    return Layout(
        address,
        config.delimiter,
        tuple(header),
        lines,
        tuple(wanted),
        tuple(header.index(name) for name in wanted),
        header.index(config.label) if config.label is not None else None,
    )


def rows(table: Layout, *, numbers: bool) -> Iterator[Block]:
    """All rows in blocks. numbers: read the columns' cells; without, rows are counted and labels read.

    Where Arrow refuses a row, Python's reader goes on from there: it takes the row or raises the DataError that names
    line and column. So what is accepted is what Python's reader accepts, also where there are quotes, which Arrow
    takes in ways of its own and never gets to see.
    """
    done = 0
    try:
        for block in _by_arrow(table, numbers):
            yield block
            done += block.num
    except (pa.ArrowException, _Refused):
        yield from _by_python(table, numbers, done)


class _Refused(Exception):
    """Something that Arrow would take otherwise than Python: a quote, or a number that is not finite in 32 bits."""


class _WithoutQuotes(io.RawIOBase):
    """The rows after the header of an opened file; refused where there is a quote."""

    def __init__(self, file: Any) -> None:
        self.file = file
        header = file.readline().rstrip(b"\r\n")
        if b"\r" in header:
            raise _Refused  # lines that end in \r alone: this was more than the header

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        content: bytes = self.file.read(size)
        if b'"' in content:
            raise _Refused
        return content


def _by_arrow(table: Layout, numbers: bool) -> Iterator[Block]:
    if table.lines != 1:
        raise _Refused  # a header over several lines
    names = [str(i) for i in range(len(table.header))]
    types: dict[str, Any] = {names[i]: pa.float64() for i in table.places} if numbers else {}
    if table.label_place is not None:
        types[names[table.label_place]] = pa.string()
    if not types:
        types = {names[0]: pa.binary()}
    with opened(table.address, "infer") as file:
        reader = arrow_csv.open_csv(
            _WithoutQuotes(file),
            arrow_csv.ReadOptions(column_names=names, block_size=BLOCK_BYTES, use_threads=False),
            arrow_csv.ParseOptions(delimiter=table.delimiter, quote_char=False),
            arrow_csv.ConvertOptions(
                include_columns=list(types), column_types=types, null_values=[], strings_can_be_null=False
            ),
        )
        for batch in reader:
            x = np.empty((batch.num_rows, len(table.places) if numbers else 0), dtype=np.float32)
            if numbers:
                for k, place in enumerate(table.places):
                    column = batch.column(names[place]).to_numpy(zero_copy_only=False)
                    if not (np.abs(column) <= LARGEST).all():
                        raise _Refused
                    x[:, k] = column
            labels = None
            if table.label_place is not None:
                labels = pc.utf8_trim_whitespace(batch.column(names[table.label_place])).to_pylist()
            yield Block(batch.num_rows, x, labels)


def _by_python(table: Layout, numbers: bool, skip: int) -> Iterator[Block]:
    found: list[list[float]] = []
    labels: list[str] = []
    places = table.places if numbers else ()

    def block() -> Block:
        x = np.array(found, dtype=np.float32).reshape(len(found), len(places))
        return Block(len(found), x, labels if table.label_place is not None else None)

    with _reader(table.address, table.delimiter) as reader:
        next(reader, None)
        row = 0
        for cells in reader:
            if not cells:
                continue  # a blank line, often the last
            row += 1
            if row <= skip:
                continue
            line = reader.line_num
            if len(cells) != len(table.header):
                raise DataError(
                    f"{table.address}, line {line}: {len(cells)} cells, expected {len(table.header)} as in the header"
                )
            found.append([number(cells[i], table.address, line, table.header[i]) for i in places])
            if table.label_place is not None:
                labels.append(cells[table.label_place].strip())
            if len(found) == BLOCK_ROWS:
                yield block()
                found, labels = [], []
    if found:
        yield block()


def number(cell: str, address: str, line: int, column: str) -> float:
    """The number in a cell; DataError names file, line and column where it is none that 32 bits hold."""
    try:
        value = float(cell)
    except ValueError:
        shown = f"'{cell}'" if cell.strip() else "an empty cell"
        raise DataError(f"{address}, line {line}, column '{column}': {shown} is not a number") from None
    if not math.isfinite(value):
        raise DataError(f"{address}, line {line}, column '{column}': {cell.strip()} is not a finite number")
    if abs(value) > LARGEST:
        raise DataError(f"{address}, line {line}, column '{column}': {cell.strip()} is too large for 32 bits")
    return value
