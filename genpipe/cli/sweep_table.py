"""A sweep's table in the terminal, and what to type next."""

from __future__ import annotations

import shlex

import click

from genpipe.cli.catalogue import print_table
from genpipe.cli.run import command_name, relative
from genpipe.display import duration
from genpipe.sweeps.driver import Sweep
from genpipe.sweeps.ranking import Ranked
from genpipe.sweeps.record import STOPPED
from genpipe.sweeps.spec import typed
from genpipe.words import ARROWS, value_and_error

MAX_ROWS = 40
MAX_ERROR = 90


def print_sweep(sweep: Sweep, recipe: str) -> None:
    """The trials, best first; the best one's values, and the commands that use it."""
    ranking, record = sweep.ranking, sweep.record
    arrow = ARROWS["lower" if ranking.mode == "min" else "higher"]
    header = ["", "trial", *record.domains, f"{ranking.metric} {arrow}", "status", "took"]
    print_table(header, [_cells(row, list(record.domains)) for row in ranking.rows[:MAX_ROWS]])
    if len(ranking.rows) > MAX_ROWS:
        click.echo(f"… and {len(ranking.rows) - MAX_ROWS} more, in {relative(record.folder / 'table.csv')}")
    best = ranking.best
    if best is None:
        return
    run = sweep.best
    values = [*record.overrides, *([f"seed={record.seeds[0]}"] if record.seeds[0] else [])]
    again = shlex.join(["run", recipe, *values]) + f" {typed(best.trial.values)}".rstrip()
    lines = [
        ("best", f"trial {best.trial.number}  {typed(best.trial.values)}".rstrip()),
        ("its run", run.id),
        ("sample it", f"{command_name()} sample {run.id}"),
        ("its report", f"{command_name()} {again}"),
        ("table", relative(record.folder / "table.csv")),
    ]
    if (record.folder / "sweep.png").exists():
        lines.append(("picture", relative(record.folder / "sweep.png")))
    for name, value in lines:
        click.echo(f"{click.style(name.ljust(10), bold=True)}  {value}")


def _cells(row: Ranked, keys: list[str]) -> list[str]:
    values = [typed({key: row.trial.values[key]}).partition("=")[2] for key in keys]
    value = "–"
    if row.estimate is not None:
        value = " ".join(filter(None, value_and_error(row.estimate)))
    status = row.status.lower()
    if row.trial.error:
        error = row.trial.error.splitlines()[0]
        shown = error if len(error) <= MAX_ERROR else error[:MAX_ERROR] + "…"
        status = shown if row.status == STOPPED else f"{status}: {shown}"
    rank = "" if row.rank is None else str(row.rank)
    return [rank, str(row.trial.number), *values, value, status, duration(row.trial.seconds)]
