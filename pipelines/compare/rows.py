"""The comparison's rows: real data above, each model over its seeds, copies and noise below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from genpipe.comparison import Cell, Comparison, Row
from genpipe.pipelines.compare.means import mean_cell, with_best
from genpipe.pipelines.compare.members import COSTS, Member
from genpipe.table import Estimate, Table

Failures = Mapping[str, Mapping[int, str]]


def compare(
    members: Sequence[Member], failures: Failures, *, title: str, dataset: str, seeds: tuple[int, ...]
) -> Comparison:
    """failures: label → seed → step, of every label in the order of rows."""
    of = {label: [member for member in members if member.label == label] for label in failures}
    cells = with_best({label: _cells([_estimates(m) for m in own]) for label, own in of.items() if own})
    models = [_model_row(label, own, cells.get(label, ()), failures[label]) for label, own in of.items()]
    first = members[0].table
    above, below = _framing_rows(first)
    return Comparison(
        title=title,
        dataset=dataset,
        columns=_columns([member.table for member in members]),
        rows=(*above, *models, *below),
        seeds=seeds,
        num=first.num,
        reference=first.reference,
        num_reference=first.num_reference,
        fingerprint=first.fingerprint,
        machine="; ".join(dict.fromkeys(member.hardware for member in members)),
        notes=_notes(members),
    )


def _estimates(member: Member) -> list[Estimate]:
    return [*member.row.estimates, *member.costs()]


def _cells(runs: Sequence[Sequence[Estimate]]) -> list[Cell]:
    """Of one model. A column that some seeds lack is the mean of those that have it, as its `values` show."""
    names = dict.fromkeys(e.name for run in runs for e in run)
    return [mean_cell([e for run in runs for e in run if e.name == name]) for name in names]


def _model_row(label: str, members: Sequence[Member], cells: tuple[Cell, ...], failed: Mapping[int, str]) -> Row:
    absent = {metric: why for member in members for metric, why in member.row.absent.items()}
    seeds = tuple(member.seed for member in members)
    title = members[0].row.title if members else "gave nothing to compare"
    return Row(name=label, title=title, cells=cells, seeds=seeds, absent=absent, failed=dict(failed))


def _framing_rows(table: Table) -> tuple[list[Row], list[Row]]:
    """Rows above and below the model's, which are the same in all evaluations."""
    at = table.rows.index(table.subject)
    framing = [
        Row(
            name=row.name,
            title=row.title,
            cells=tuple(_framing_cell(e) for e in row.estimates),
            is_model=False,
            absent=dict(row.absent),
        )
        for row in table.rows
        if row is not table.subject
    ]
    return framing[:at], framing[at:]


def _framing_cell(estimate: Estimate) -> Cell:
    error = estimate.standard_error
    return Cell(
        **asdict(estimate), error_of=None if error is None else "run", error_within=error, values=(estimate.value,)
    )


def _columns(tables: Sequence[Table]) -> tuple[str, ...]:
    fullest_first = sorted(tables, key=lambda table: -len(table.columns))
    return (*dict.fromkeys(column for table in fullest_first for column in table.columns), *COSTS)


def _notes(members: Sequence[Member]) -> tuple[str, ...]:
    """What all evaluations say as it is, what only some say with the models' names."""
    said: dict[str, list[str]] = {}
    for member in members:
        for note in member.table.notes:
            said.setdefault(note, []).append(member.label)
    labels = {member.label for member in members}
    return tuple(note if set(by) == labels else f"{', '.join(dict.fromkeys(by))}: {note}" for note, by in said.items())
