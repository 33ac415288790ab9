"""Writes a report artifact: report.html, its pictures as PNG files and the table as CSV."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from genpipe.pipelines.report.cells import tiles
from genpipe.pipelines.report.config import ReportConfig
from genpipe.pipelines.report.contents import Contents, read_contents
from genpipe.pipelines.report.page import Panel, render
from genpipe.pipelines.report.panels import (
    classifier,
    costs,
    evaluation,
    facts,
    latent,
    likelihoods,
    modes,
    novelty,
    path,
    samples,
    settings,
    tradeoff,
    training,
)
from genpipe.steps import StepContext

# In the order of the page; one that does not fit the data, the family or the evaluation gives None.
PANELS: tuple[Callable[[Contents], Panel | None], ...] = (
    samples.panel,
    evaluation.panel,
    tradeoff.panel,
    modes.panel,
    classifier.panel,
    likelihoods.panel,
    novelty.panel,
    path.panel,
    latent.panel,
    training.panel,
    facts.panel,
    costs.panel,
    settings.panel,
)


def run(context: StepContext) -> None:
    """Renders the page; nothing in it is fetched from anywhere."""
    config: ReportConfig = context.config
    contents = read_contents(context.inputs, context.registry, context.device)
    panels = []
    for number, panel in enumerate(PANELS):
        found = panel(contents)
        if found is not None:
            panels.append(found)
        context.progress(number + 1, len(PANELS))
    for found in panels:
        for name, data in {**{name: p.light for name, p in found.pictures.items()}, **found.files}.items():
            (context.out / f"{name}.png").write_bytes(data)
    title = config.title or f"{contents.subject} on {contents.spec.name}"
    created = datetime.fromtimestamp(contents.manifests["evaluation"].created, tz=UTC)
    html = render(
        panels,
        title=title,
        created=f"{created:%Y-%m-%d %H:%M} UTC",
        about=contents.table.subject.title if contents.family is None else contents.family.summary,
        tiles=tiles(contents.table),
    )
    (context.out / "report.html").write_text(html, encoding="utf-8")
    (context.out / "table.csv").write_text(contents.table.csv())
    metrics = {name: value for found in panels for name, value in found.metrics.items()}
    context.summary.update(title=title, panels=[found.name for found in panels], show_in_run=True, metrics=metrics)
