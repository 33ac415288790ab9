"""`genpipe metrics`: what an evaluation can measure, by which estimator, and the features that it can rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

import click

from genpipe.cli.catalogue import print_options
from genpipe.components import Axis, FeatureExtractor, Metric
from genpipe.errors import UsageError, nearest
from genpipe.registry import Provided, registry

AXES = get_args(Axis)
WIDE = 160  # columns of a terminal from which each fact has a column of its own
PIPE = 240  # where there is no terminal, and so no edge to wrap at
NEEDS = {
    "samples": "samples",
    "features": "features of samples",
    "logits": "class logits of samples",
    "likelihood": "log-probabilities of held-out data",
    "densities": "samples, and data whose density is known",
}
DATA = {"image": "images", "vector": "vectors", "sequence": "sequences", "2d": "points in the plane"}


@click.group(invoke_without_command=True)
@click.pass_context
def metrics(ctx: click.Context) -> None:
    """List the metrics and the feature extractors; `metrics show NAME` tells one with its options and papers.

    A metric with data under "default for" is in the table of an evaluation that names none.
    """
    if ctx.invoked_subcommand is not None:
        return
    listed = sorted(registry().all("metric"), key=lambda p: (AXES.index(p.record.axis), p.record.name))
    _print("metric", [(p, _facts(p.record)) for p in listed])
    _print("features", [(p, _feature_facts(p.record)) for p in registry().all("feature_extractor")])


@metrics.command("show")
@click.argument("name")
def show(name: str) -> None:
    """Print a metric's (or a feature extractor's) estimator, needs, papers, and options with their defaults."""
    known = {kind: registry().names(kind) for kind in ("metric", "feature_extractor")}
    kind = next((kind for kind, names in known.items() if name in names), None)
    if kind is None:
        hint = nearest(name, [n for names in known.values() for n in names])
        raise UsageError(f"there is no metric and no feature extractor '{name}'{hint}")
    record = registry().get(kind, name)
    click.echo(f"{click.style(record.name, bold=True)}  {record.summary}\n")
    facts = _facts(record) if kind == "metric" else _feature_facts(record)
    for label, fact in facts.items():
        if fact:
            click.echo(f"{label:<12} {fact}")
    for paper in record.papers:
        click.echo(f"{'paper':<12} {paper}")
    print_options(record.config_class)


def _facts(record: Metric) -> dict[str, str]:
    return {
        "axis": record.axis,
        "estimator": record.estimator,
        "needs": NEEDS[record.needs],
        "cost": record.cost,
        "default for": ", ".join(DATA[kind] for kind in record.defaults_for),
    }


def _feature_facts(record: FeatureExtractor) -> dict[str, str]:
    return {
        "data": ", ".join(DATA[kind] for kind in record.events),
        "dimensions": record.dims,
        "trained": "on data.features_fraction" if record.trains else "no",
        "logits": "yes" if record.has_logits else "no",
    }


def _print(kind: str, rows: Sequence[tuple[Provided, Mapping[str, str]]]) -> None:
    """A column for each fact where the terminal is wide; else they stand below what the component is."""
    from rich import box
    from rich.console import Console, Group
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = PIPE
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(kind, no_wrap=True)
    wide = console.width >= WIDE
    for name in ("what it is", *rows[0][1], "from") if wide else ("what it is",):
        table.add_column(name)
    for provided, facts in rows:
        record, source = provided.record, provided.source.distribution
        if wide:
            table.add_row(record.name, record.summary, *facts.values(), source)
            continue
        below = Table.grid(padding=(0, 2))
        for name, fact in {**facts, "from": "" if source == "genpipe" else source}.items():
            if fact:
                below.add_row(Text(name, style="dim", no_wrap=True), fact)
        table.add_row(Text(record.name, style="bold"), Group(record.summary, below, ""))
    console.print(table)
