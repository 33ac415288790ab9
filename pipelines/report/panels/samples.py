"""Samples as they came, beside real data."""

from __future__ import annotations

from genpipe.data import subset_by_hash
from genpipe.pictures import MAX_IMAGES, MAX_POINTS, MAX_REAL, MAX_SEQUENCES, examples_figure
from genpipe.pipelines.report.contents import Contents
from genpipe.pipelines.report.page import Panel
from genpipe.pipelines.report.picture import picture


def panel(contents: Contents) -> Panel:
    spec, test, samples = contents.spec, contents.test, contents.samples
    behind = None if spec.event == "image" else test.x[:MAX_REAL]
    # By hash: the files' order is often that of the classes, and the first images would be all of one.
    num = MAX_IMAGES if spec.event == "image" else max(len(samples), 500)
    chosen = subset_by_hash(len(test), num, seed=0)
    labels = None if test.y is None else test.y[chosen]
    most = {"image": MAX_IMAGES, "sequence": MAX_SEQUENCES}.get(
        spec.event, MAX_POINTS if spec.shape == (2,) else len(samples)
    )
    return Panel(
        name="samples",
        title="Samples",
        values={
            "title": _title(contents),
            "num_shown": min(len(samples), most),
            "num": len(samples),
            "seed": None if contents.drawing is None else contents.drawing.seed,
        },
        pictures={
            "samples": picture(
                lambda theme: examples_figure(samples, spec, theme, labels=contents.labels, real=behind),
                f"{_title(contents)}, as they came",
            ),
            "data": picture(
                lambda theme: examples_figure(test.x[chosen], spec, theme, labels=labels),
                f"Held-out examples of {spec.name}",
            ),
        },
    )


def _title(contents: Contents) -> str:
    subject = contents.subject
    return subject[:1].upper() + subject[1:] if contents.family is None else f"Samples of {subject}"
