"""Writes a comparison artifact: comparison.json, .csv, .md and .html, and its pictures as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from genpipe.artifacts import read_manifest
from genpipe.comparison import COMPARISON, Comparison
from genpipe.comparison_text import markdown, short
from genpipe.data import Split, open_split, subset_by_hash
from genpipe.errors import UsageError, nearest
from genpipe.pipelines.compare.config import CompareOptions, CompareStageConfig
from genpipe.pipelines.compare.members import SAMPLING, Member, read_failures, read_members
from genpipe.pipelines.compare.page import render
from genpipe.pipelines.compare.panel import MAX_POINTS, REAL, samples_figure
from genpipe.pipelines.compare.rows import compare
from genpipe.pipelines.compare.tradeoffs import likelihood_column, quality_column, tradeoffs
from genpipe.pipelines.report.picture import Picture, picture
from genpipe.steps import StepContext


def run(context: StepContext) -> None:
    """Makes the table of all that came, and the pictures; what did not come is named in it."""
    config: CompareStageConfig = context.config
    members = read_members(context, config.models, config.seeds)
    failures = {label: read_failures(context, label, config.seeds) for label in config.models}
    dataset = str(read_manifest(context.inputs["data"]).config["dataset"]["name"])
    title = config.title or f"{len(config.models)} models on {dataset}"
    comparison = compare(members, failures, title=title, dataset=dataset, seeds=config.seeds)
    pictures = draw_pictures(comparison, members, open_split(context.inputs["data"], "test"), config)

    comparison.write(context.out / COMPARISON)
    (context.out / "comparison.csv").write_text(comparison.csv())
    for name, found in pictures.items():
        (context.out / f"{name}.png").write_bytes(found.light)
    shown = [(f"{name}.png", found.alt) for name, found in pictures.items()]
    (context.out / "comparison.md").write_text(markdown(comparison, shown), encoding="utf-8")
    (context.out / "comparison.html").write_text(render(comparison, pictures, members), encoding="utf-8")
    context.summary.update(title=title, show_in_run=True, metrics=_metrics(comparison))


def draw_pictures(
    comparison: Comparison, members: Sequence[Member], test: Split, options: CompareOptions
) -> dict[str, Picture]:
    """Name → picture: the trade-offs that have the numbers, and samples of every model side by side."""
    quality = _chosen(options.quality, "quality", comparison) or quality_column(comparison)
    likelihood = _chosen(options.likelihood, "likelihood", comparison) or likelihood_column(comparison)
    drawn = {
        found.name: picture(partial(found.draw, comparison), found.alt)
        for found in tradeoffs(comparison, quality, likelihood, SAMPLING)
    }
    # By hash: the files' order is often that of the classes.
    real = test.x[subset_by_hash(len(test), min(len(test), MAX_POINTS), seed=0)]
    first = {member.label: member for member in reversed(members)}  # the first seed of each
    drawn_by = [(row.name, first[row.name]) for row in comparison.models if row.name in first]
    examples = [(REAL, np.asarray(real))]
    examples += [(name, np.load(member.samples, mmap_mode="r", allow_pickle=False)) for name, member in drawn_by]
    drawn["samples"] = picture(
        lambda theme: samples_figure(examples, test.spec, theme, options.num_samples),
        f"The first samples of {', '.join(name for name, _ in drawn_by)}, as they came, beside held-out data",
    )
    return drawn


def _chosen(column: str | None, option: str, comparison: Comparison) -> str | None:
    """The column of that name; its features' hash may be left out."""
    if column is None or column in comparison.columns:
        return column
    found = {short(comparison, each): each for each in comparison.columns}
    if column not in found:
        hint = nearest(column, found) or f"; there are: {', '.join(found)}"
        raise UsageError(f"compare.{option}: there is no column '{column}'{hint}")
    return found[column]


def _metrics(comparison: Comparison) -> dict[str, float]:
    """For trackers: the means, a model's label before each."""
    return {
        f"{row.name} {cell.name}" + (f" {cell.kind}" if cell.kind not in (None, "exact") else ""): cell.value
        for row in comparison.models
        for cell in row.cells
    }
