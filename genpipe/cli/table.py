"""Tables of evaluations, in the terminal."""

from __future__ import annotations

from genpipe.cli.catalogue import print_table
from genpipe.runs import Run
from genpipe.table import Estimate, Table

KINDS = {"lower_bound": "bound", "estimate": "estimate", "unnormalized": "unnormalised"}


def print_tables(run: Run) -> None:
    """Every evaluation of a run."""
    evaluations = run.of_kind("evaluation")
    for step, folder in evaluations:
        if len(evaluations) > 1:
            print(step)
        table = Table.read(folder / "table.json")
        rows = [[row.name, *(_cell(row.cell(column)) for column in table.columns)] for row in table.rows]
        print_table(("", *table.columns), rows)
        print(
            f"{table.num} examples a row, against {table.num_reference} of the split '{table.reference}'; "
            f"features {table.extractor}"
        )


def _cell(estimate: Estimate | None) -> str:
    """`2.61 ± 0.02 bound`: a likelihood never without its kind."""
    if estimate is None:
        return "–"
    error = estimate.standard_error
    text = f"{estimate.value:.4g}" if error is None else f"{estimate.value:.4g} ± {error:.2g}"
    kind = KINDS.get(estimate.kind or "", "")
    return f"{text} {kind}".strip()
