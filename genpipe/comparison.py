"""A comparison of several models on one data set: a row each, over seeds, as data, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from genpipe.table import Estimate

COMPARISON = "comparison.json"
FORMAT_VERSION = 1

ErrorOf = Literal["seeds", "run"]


@dataclass(frozen=True, kw_only=True)
class Cell(Estimate):
    """A row's number in one column: the mean over seeds.

    error_of: what standard_error tells: "seeds", how means over as many seeds vary; "run", what a single run says of
    its own error; None where there is none. error_within: the mean error that the runs say of themselves, None where
    they say none. values: of each seed. is_best: whether it is better than every other model's of its kind, beyond
    their errors.
    """

    error_of: ErrorOf | None = None
    error_within: float | None = None
    values: tuple[float, ...] = ()
    is_best: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row. title: what it is, in words. is_model: whether it takes part, or frames those that do.

    seeds: that its numbers are means of. absent: metric → why it has no number here. failed: seed → the step that
    gave nothing, for what is not in the numbers.
    """

    name: str
    title: str
    cells: tuple[Cell, ...]
    is_model: bool = True
    seeds: tuple[int, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[int, str] = field(default_factory=dict)

    def cell(self, column: str) -> Cell | None:
        return next((cell for cell in self.cells if cell.name == column), None)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Rows and what all their numbers rest on.

    dataset: its name; seeds: as asked for; num: examples in every row; reference, num_reference: the split that rows
    are held against, and its size; fingerprint: of the features; notes: what holds for the whole table; machine: what the
    cost columns were measured on, in words.
    """

    title: str
    dataset: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    num: int
    reference: str
    num_reference: int
    fingerprint: str
    machine: str = ""
    notes: tuple[str, ...] = ()

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)

    @property
    def models(self) -> list[Row]:
        return [row for row in self.rows if row.is_model]

    def better(self, column: str) -> str | None:
        return next((cell.better for row in self.rows if (cell := row.cell(column)) is not None), None)

    def write(self, path: Path) -> None:
        """As JSON, in which a number that is not finite is a text: "inf"."""
        path.write_text(json.dumps({"format": FORMAT_VERSION, **_written(asdict(self))}, indent=1, allow_nan=False))

    @classmethod
    def read(cls, path: Path) -> Comparison:
        """What `write` wrote."""
        fields = json.loads(path.read_text())
        fields.pop("format")
        lists = {name: tuple(fields[name]) for name in ("columns", "seeds", "notes")}
        return cls(**{**fields, **lists, "rows": tuple(map(_row, fields["rows"]))})

    def csv(self) -> str:
        """One line per cell."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        header = ["row", "column", "value", "standard_error", "error_of", "error_within", "kind", "better", "num"]
        writer.writerow([*header, "best", "values", "notes"])
        for row in self.rows:
            for cell in row.cells:
                numbers = [cell.value, cell.standard_error, cell.error_of, cell.error_within, cell.kind, cell.better]
                plain = ["" if number is None else number for number in numbers]
                values = " ".join(map(repr, cell.values))
                writer.writerow(
                    [row.name, cell.name, *plain, cell.num, int(cell.is_best), values, "; ".join(cell.notes)]
                )
        return text.getvalue()


def _written(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _written(item) for key, item in value.items()}
    return [_written(item) for item in value] if isinstance(value, list | tuple) else value


def _row(fields: dict[str, Any]) -> Row:
    cells = tuple(_cell(cell) for cell in fields.pop("cells"))
    failed = {int(seed): step for seed, step in fields.pop("failed").items()}
    return Row(**{**fields, "cells": cells, "failed": failed, "seeds": tuple(fields["seeds"])})


def _cell(fields: dict[str, Any]) -> Cell:
    numbers = {
        name: None if fields[name] is None else float(fields[name]) for name in ("standard_error", "error_within")
    }
    values = tuple(map(float, fields["values"]))
    return Cell(
        **{**fields, **numbers, "value": float(fields["value"]), "values": values, "notes": tuple(fields["notes"])}
    )
