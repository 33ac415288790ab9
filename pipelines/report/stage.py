"""Writes a report artifact: report.html, its pictures as PNG files and the table as CSV."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from genpipe import words
from genpipe.data import subset_by_hash
from genpipe.pictures import LIGHT, MAX_IMAGES, MAX_REAL, examples_figure, png
from genpipe.pipelines.report import sections
from genpipe.pipelines.report.config import ReportConfig
from genpipe.pipelines.report.contents import Contents, read_contents
from genpipe.pipelines.report.figures import Picture, pair_figure, pairs_figure, picture, ratios_figure
from genpipe.pipelines.train.curves import curves_figure, term_names
from genpipe.steps import StepContext


def run(context: StepContext) -> None:
    """Renders the page; nothing in it is fetched from anywhere."""
    config: ReportConfig = context.config
    contents = read_contents(context.inputs, context.registry)
    title = config.title or f"{contents.family.name} on {contents.spec.name}"
    pictures = {name: found for name, found in draw_pictures(contents).items() if found is not None}
    for name, found in pictures.items():
        (context.out / f"{name}.png").write_bytes(found.light)
    nearest = pairs_figure(contents.nearest, contents.spec, LIGHT)
    if nearest is not None and "nearest" not in pictures:
        (context.out / "nearest.png").write_bytes(png(nearest))
    (context.out / "table.csv").write_text(contents.table.csv())
    html = render(contents, title, pictures)
    (context.out / "report.html").write_text(html, encoding="utf-8")
    context.summary.update(title=title, show_in_run=True)


def draw_pictures(contents: Contents) -> dict[str, Picture | None]:
    """Name → picture; None where this data or this training has none."""
    spec, test, num = contents.spec, contents.test, len(contents.samples)
    behind = None if spec.event == "image" else test.x[:MAX_REAL]
    # By hash: the files' order is often that of the classes, and the first images would be all of one.
    shown = subset_by_hash(len(test), MAX_IMAGES if spec.event == "image" else max(num, 500), seed=0)
    labels = None if test.y is None else test.y[shown]
    return {
        "data": picture(
            lambda theme: examples_figure(test.x[shown], spec, theme, labels=labels),
            f"Held-out examples of {spec.name}",
        ),
        "samples": picture(
            lambda theme: examples_figure(contents.samples, spec, theme, labels=contents.labels, real=behind),
            f"Samples of {contents.family.name}, as they came",
        ),
        "curves": picture(lambda theme: curves_figure(contents.history, theme), "Training curves of every logged term"),
        "ratios": picture(
            lambda theme: ratios_figure(contents.nearest, theme),
            "Histogram of distance ratios of samples and held-out data",
        ),
        "nearest": picture(
            lambda theme: None if spec.event == "image" else pairs_figure(contents.nearest, spec, theme),
            "Samples joined to their nearest training examples",
        ),
    }


def render(contents: Contents, title: str, pictures: dict[str, Picture]) -> str:
    """The page as one HTML text."""
    template = files(__package__).joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    created = datetime.fromtimestamp(contents.manifests["evaluation"].created, tz=UTC)
    return environment.from_string(template).render(
        title=title,
        created=f"{created:%Y-%m-%d %H:%M} UTC",
        pictures=pictures,
        family=contents.family,
        facts=sections.facts(contents),
        tiles=sections.tiles(contents.table),
        table=contents.table,
        text=sections.table_text(contents.table),
        final_numbers=sections.final_numbers(contents),
        has_steps=bool(contents.history),
        num_samples=len(contents.samples),
        seed=contents.drawing.seed,
        curves=curves(contents),
        pairs=pairs(contents),
        timings=sections.timings(contents.manifests),
        settings=sections.settings(contents.manifests),
        environment=sections.environment(contents.manifests),
    )


def curves(contents: Contents) -> list[Picture]:
    """A picture for each logged term, so that the page can set them side by side or one below the other."""
    drawn = [
        picture(
            lambda theme, name=name: curves_figure(contents.history, theme, [name]),
            f"Training curve of {name}",
        )
        for name in term_names(contents.history)
    ]
    return [found for found in drawn if found is not None]


def pairs(contents: Contents) -> list[dict[str, Any]]:
    """Each suspicious sample and its nearest training example, closest first."""
    found, spec = contents.nearest, contents.spec
    listed = []
    for k in range(len(found["ratio"])):
        sample, neighbour = found["samples"][k], found["neighbours"][k]
        image = None
        if spec.event == "image":
            image = picture(
                lambda theme, s=sample, n=neighbour: pair_figure(s, n, spec, theme),
                f"Sample {found['index'][k]} and training example {found['neighbour_index'][k]}",
            )
        listed.append(
            {
                "image": image,
                "index": int(found["index"][k]),
                "neighbour_index": int(found["neighbour_index"][k]),
                "distance": words.number(float(found["distance"][k])),
                "ratio": words.number(float(found["ratio"][k]), 2),
            }
        )
    return listed
