"""Tables of evaluations, or of the comparison that was made of them, in the terminal."""

from __future__ import annotations

import shutil
import textwrap

from genpipe.cli.comparison_table import print_blocks, print_comparison
from genpipe.comparison import COMPARISON, Comparison
from genpipe.runs import Run
from genpipe.table import Estimate, Table
from genpipe.words import ARROWS, CHIPS, relation, value_and_error


def print_tables(run: Run) -> None:
    """A run's comparison, or else every evaluation of it."""
    comparisons = run.of_kind("comparison")
    for step, _ in comparisons:
        print_comparison(Comparison.read(run.artifact(step) / COMPARISON))
    evaluations = run.of_kind("evaluation") if not comparisons else []
    for step, _ in evaluations:
        if len(evaluations) > 1:
            print(step)
        table = Table.read(run.artifact(step) / "table.json")
        better = {cell.name: cell.better for row in table.rows for cell in row.estimates}
        header = [f"{column} {ARROWS[better[column]]}".strip() for column in table.columns]
        rows = [[row.name, *(_cell(row.cell(column)) for column in table.columns)] for row in table.rows]
        print_blocks(("", *header), rows)
        print(
            f"{table.num} examples a row, held against the {table.num_reference} of the {table.reference} split; "
            f"features: {table.extractor}"
        )
        width = shutil.get_terminal_size((120, 24)).columns
        for note in table.notes:
            print(textwrap.fill(note, width, initial_indent="· ", subsequent_indent="  "))


def _cell(estimate: Estimate | None) -> str:
    """`≤ 2.231 ± 0.016 (lower bound)`: a likelihood never without its kind."""
    if estimate is None:
        return "–"
    value, error = value_and_error(estimate)
    kind = f"({CHIPS[estimate.kind]})" if estimate.kind is not None else ""
    return " ".join(filter(None, (relation(estimate), value, "" if error == "± 0" else error, kind)))
