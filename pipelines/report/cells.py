"""The table's cells as plain text: rounded, with their kind, footnotes numbered."""

from __future__ import annotations

from dataclasses import dataclass

from genpipe import words
from genpipe.table import Estimate, Row, Table

MAX_TILES = 4


@dataclass(frozen=True, kw_only=True)
class CellText:
    """A cell of the table. footnotes: their numbers."""

    value: str
    error: str = ""
    relation: str = ""
    chip: str = ""
    footnotes: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MetricText:
    """A line of the page's table: one number of every row of the evaluation. detail: the features it rests on, where
    they are not the table's."""

    name: str
    arrow: str
    detail: str
    cells: tuple[CellText, ...]


@dataclass(frozen=True, kw_only=True)
class TableText:
    """The table, turned: rows grow with the metrics, and fit a phone and a sheet of paper.

    columns: (name, title) of the evaluation's rows; kinds: what the chips mean, of those that appear.
    """

    columns: tuple[tuple[str, str], ...]
    metrics: tuple[MetricText, ...]
    footnotes: tuple[str, ...]
    kinds: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A number of the headline, with what frames it."""

    name: str
    cell: CellText
    beside: str


def table_text(table: Table) -> TableText:
    """The table with footnotes numbered as they first appear."""
    footnotes: list[str] = []
    metrics = []
    for column in table.columns:
        found = next(cell for row in table.rows if (cell := row.cell(column)) is not None)
        metrics.append(
            MetricText(
                name=column,
                arrow=words.ARROWS[found.better],
                detail=found.features if found.features not in (None, table.fingerprint) else "",
                cells=tuple(_cell(row, column, footnotes) for row in table.rows),
            )
        )
    for row in table.rows:
        reasons = [f"{row.name}: no {metric}, since {why}." for metric, why in row.absent.items()]
        footnotes.extend(reason for reason in reasons if reason not in footnotes)
    kinds = {e.kind for row in table.rows for e in row.estimates if e.kind is not None}
    return TableText(
        columns=tuple((row.name, row.title) for row in table.rows),
        metrics=tuple(metrics),
        footnotes=tuple(footnotes),
        kinds=tuple((words.CHIPS[kind], words.KINDS[kind]) for kind in words.KINDS if kind in kinds),
    )


def _cell(row: Row, column: str, footnotes: list[str]) -> CellText:
    estimate = row.cell(column)
    if estimate is None:
        return CellText(value="—")
    for note in estimate.notes:
        if note not in footnotes:
            footnotes.append(note)
    numbers = tuple(footnotes.index(note) + 1 for note in estimate.notes)
    return cell_text(estimate, numbers)


def cell_text(estimate: Estimate, footnotes: tuple[int, ...] = ()) -> CellText:
    value, error = words.value_and_error(estimate)
    return CellText(
        value=value,
        error=error,
        relation=words.relation(estimate),
        chip=words.CHIPS[estimate.kind] if estimate.kind else "",
        footnotes=footnotes,
    )


def tiles(table: Table) -> list[Tile]:
    """The main numbers: a likelihood, in bits where it can be, and the first others that have a direction."""
    directed = [e for e in table.subject.estimates if e.better is not None and not e.name.endswith("bias-corrected")]
    likelihoods = sorted((e for e in directed if e.kind is not None), key=lambda e: e.name != "bits/dim")
    chosen = [*likelihoods[:1], *(e for e in directed if e.kind is None)]
    return [Tile(name=e.name, cell=cell_text(e), beside=_beside(table, e.name)) for e in chosen[:MAX_TILES]]


def _beside(table: Table, column: str) -> str:
    parts = []
    for name, label in (("oracle", "real data"), ("floor", "noise")):
        other = table.row(name).cell(column)
        if other is not None:
            text = words.value_and_error(other)[0]
            parts.append(f"{label} {text}")
    return " · ".join(parts)
