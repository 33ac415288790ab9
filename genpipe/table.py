"""An evaluation's table: rows of estimates, as data, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from genpipe.components import LikelihoodKind

# Rows that an evaluation is about: a model, or samples alone.

SUBJECTS = ("model", "samples")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One cell of the table.

    name: column, with its unit ("bits/dim"); value; standard_error or None where it is not known; kind for
    likelihoods; better: "higher", "lower" or None where neither is; num: examples it was computed from;
    notes: what a reader must know to read it right ("N is below 2D"); features: fingerprint of those it rests on, set
    by the evaluation.
    """

    name: str
    value: float
    standard_error: float | None = None
    kind: LikelihoodKind | None = None
    better: str | None = None
    num: int = 0
    notes: tuple[str, ...] = ()
    features: str | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row. title: what it is, in words; absent: metric → why it has no number here."""

    name: str
    title: str
    estimates: tuple[Estimate, ...]
    absent: Mapping[str, str] = field(default_factory=dict)

    def cell(self, column: str) -> Estimate | None:
        return next((e for e in self.estimates if e.name == column), None)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows and what all their numbers rest on.

    num: examples in every row; reference, num_reference: the split that rows are held against, and its size;
    num_held_out: examples that the oracle's row was chosen from; data: what the examples are, in words.
    extractor, fingerprint, num_features: the features of metrics that name none themselves; seed: of the subsets, of
    noise and of metrics that draw; notes: what holds for the whole table.
    """

    rows: tuple[Row, ...]
    num: int
    reference: str
    num_reference: int
    extractor: str
    fingerprint: str
    num_features: int
    num_held_out: int | None = None
    seed: int = 0
    data: str = ""
    notes: tuple[str, ...] = ()

    @property
    def subject(self) -> Row:
        """The row that the evaluation is about: the model's, or that of samples alone."""
        return next(row for row in self.rows if row.name in SUBJECTS)

    @property
    def columns(self) -> list[str]:
        """Names of the cells, in the order of the fullest row: others may lack a metric."""
        fullest_first = sorted(self.rows, key=lambda row: -len(row.estimates))
        return list(dict.fromkeys(e.name for row in fullest_first for e in row.estimates))

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)

    def write(self, path: Path) -> None:
        """As JSON. A value that is not finite becomes null: JSON has no infinity."""
        fields = asdict(self)
        for row in fields["rows"]:
            row["estimates"] = [_finite(cell) for cell in row["estimates"]]
        path.write_text(json.dumps(fields, indent=1, allow_nan=False))

    @classmethod
    def read(cls, path: Path) -> Table:
        fields = json.loads(path.read_text())
        rows = [
            Row(**{**row, "estimates": tuple(_estimate(cell) for cell in row["estimates"])}) for row in fields["rows"]
        ]
        return cls(**{**fields, "rows": tuple(rows), "notes": tuple(fields["notes"])})

    def csv(self) -> str:
        """One line per cell."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["row", "column", "value", "standard_error", "kind", "better", "num", "features", "notes"])
        for row in self.rows:
            for e in row.estimates:
                error = "" if e.standard_error is None else repr(e.standard_error)
                cells = [
                    repr(e.value),
                    error,
                    e.kind or "",
                    e.better or "",
                    e.num,
                    e.features or "",
                    "; ".join(e.notes),
                ]
                writer.writerow([row.name, e.name, *cells])
        return text.getvalue()


def _finite(cell: dict[str, Any]) -> dict[str, Any]:
    if math.isfinite(cell["value"]):
        return cell
    return {**cell, "value": None, "standard_error": None, "not_finite": str(cell["value"])}


def _estimate(cell: dict[str, Any]) -> Estimate:
    kept = {**cell, "notes": tuple(cell["notes"])}
    text = kept.pop("not_finite", None)
    return Estimate(**(kept if text is None else {**kept, "value": float(text)}))
