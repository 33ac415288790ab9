"""CSV tables: a header, then a row of numbers per example; labels are any text."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from genpipe.data import RawData
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError, nearest
from genpipe.plugins.files.config import CsvConfig
from genpipe.plugins.files.paths import digest, existing


def number(cell: str, path: Path, line: int, column: str) -> float:
    """The finite number in a cell; DataError names file, line and column."""
    try:
        value = float(cell)
    except ValueError:
        shown = f"'{cell}'" if cell.strip() else "an empty cell"
        raise DataError(f"{path}, line {line}, column '{column}': {shown} is not a number") from None
    if not math.isfinite(value):
        raise DataError(f"{path}, line {line}, column '{column}': {cell.strip()} is not a finite number")
    return value


def build(config: CsvConfig, seed: int) -> RawData:
    """x: (N, D) float32; y: (N,), the rank of the label among the sorted labels. The seed has no part."""
    path = existing(config.path)
    rows: list[list[float]] = []
    texts: list[str] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=config.delimiter, strict=True)
            header = [name.strip() for name in next(reader, [])]
            if not header:
                raise DataError(f"{path} is empty, expected a row of column names")
            wanted = list(config.columns) if config.columns else [name for name in header if name != config.label]
            for name in [*wanted, *([config.label] if config.label else [])]:
                if name not in header:
                    raise DataError(f"{path} has no column '{name}'{nearest(name, header)}")
                if header.count(name) > 1:
                    raise DataError(f"{path} has {header.count(name)} columns named '{name}'")
            places = [header.index(name) for name in wanted]
            label_place = header.index(config.label) if config.label else None
            for cells in reader:
                if not cells:
                    continue  # a blank line, often the last
                if len(cells) != len(header):
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells, expected {len(header)} as in the header"
                    )
                rows.append([number(cells[i], path, reader.line_num, header[i]) for i in places])
                if label_place is not None:
                    texts.append(cells[label_place].strip())
                if len(rows) == config.limit:
                    break
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no CSV text in UTF-8: {error}") from None
    names = sorted(set(texts))
    if names and all(name.lstrip("-").isdigit() for name in names):
        names.sort(key=int)
    ranks = {name: rank for rank, name in enumerate(names)}
    y = np.array([ranks[text] for text in texts], dtype=np.int64) if config.label else None
    x = np.array(rows, dtype=np.float32).reshape(len(rows), len(wanted))
    spec = DataSpec(
        name=path.stem,
        event="vector",
        shape=(len(wanted),),
        num_classes=len(names) if config.label else None,
        class_names=tuple(names),
    )
    return RawData(spec, x, y).checked()


def fingerprint(config: CsvConfig) -> str:
    return digest([config.path])
