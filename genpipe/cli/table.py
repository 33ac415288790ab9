"""Tables of evaluations, or of the comparison that was made of them, in the terminal."""

from __future__ import annotations

import shutil
import textwrap

import click

from genpipe import words
from genpipe.cli.catalogue import print_table
from genpipe.cli.comparison_table import print_comparison
from genpipe.comparison import COMPARISON, Comparison
from genpipe.runs import Run
from genpipe.table import Estimate, Table


def print_tables(run: Run) -> None:
    """A run's comparison, or else every evaluation of it."""
    comparisons = run.of_kind("comparison")
    for step, _ in comparisons:
        print_comparison(Comparison.read(run.artifact(step) / COMPARISON))
    evaluations = run.of_kind("evaluation") if not comparisons else []
    for step, _ in evaluations:
        if len(evaluations) > 1:
            click.echo(step)
        show(Table.read(run.artifact(step) / "table.json"))


def show(table: Table) -> None:
    """A line for each number, a column for each row of the table, then what they rest on and what to know of them."""
    better = {cell.name: cell.better for row in table.rows for cell in row.estimates}
    lines = [
        [f"{name} {words.ARROWS[better[name]]}".strip(), *(_cell(row.cell(name)) for row in table.rows)]
        for name in table.columns
    ]
    print_table(("", *(row.name for row in table.rows)), lines)
    for line in provenance(table):
        click.echo(line)
    absent = [f"{row.name}: no {metric}, since {why}" for row in table.rows for metric, why in row.absent.items()]
    width = shutil.get_terminal_size((120, 24)).columns
    for note in dict.fromkeys((*table.notes, *_cell_notes(table), *absent)):
        click.echo(textwrap.fill(note, width, initial_indent="· ", subsequent_indent="  "))


def _cell_notes(table: Table) -> list[str]:
    """`C_T [z], model and floor: underfitting`: each note once, with the rows that have it."""
    rows: dict[tuple[str, str], list[str]] = {}
    for row in table.rows:
        for cell in row.estimates:
            for note in cell.notes:
                rows.setdefault((cell.name, note), []).append(row.name)
    everywhere = len(table.rows)
    return [
        f"{name}: {note}" if len(names) == everywhere else f"{name}, {_listed(names)}: {note}"
        for (name, note), names in rows.items()
    ]


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def provenance(table: Table) -> list[str]:
    """Which data, how many, chosen how, and by which features."""
    of = f" of {words.count(table.num_held_out)} held out" if table.num_held_out is not None else ""
    others = dict.fromkeys(
        c.features for r in table.rows for c in r.estimates if c.features not in (None, table.fingerprint)
    )
    return [
        f"{words.count(table.num)} examples in each row{of}, chosen by hash with seed {table.seed}; "
        f"reference: the {words.count(table.num_reference)} of the split '{table.reference}'; ± one standard error",
        f"features: {table.fingerprint}, {words.count(table.num_features)} dimensions"
        + "".join(f"; {fingerprint}" for fingerprint in others),
        *([f"data: {table.data}"] if table.data else []),
    ]


def _cell(estimate: Estimate | None) -> str:
    """`≤ 2.231 ± 0.016 (lower bound)`: a likelihood never without its kind."""
    if estimate is None:
        return "–"
    value, error = words.value_and_error(estimate)
    kind = f"({words.CHIPS[estimate.kind]})" if estimate.kind is not None else ""
    return " ".join(filter(None, (words.relation(estimate), value, "" if error == "± 0" else error, kind)))
