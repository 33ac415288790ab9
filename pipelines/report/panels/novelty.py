"""The samples that lie closest to training examples, worst first, and how close samples come in general."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from genpipe import words
from genpipe.dataspec import DataSpec
from genpipe.pictures import Theme, blank_figure, dress, image_grid, legend
from genpipe.pipelines.report.contents import Contents
from genpipe.pipelines.report.page import Panel
from genpipe.pipelines.report.picture import Picture, picture

Array = npt.NDArray[Any]


def panel(contents: Contents) -> Panel:
    found, spec = contents.nearest, contents.spec
    pictures = {
        "ratios": picture(
            lambda theme: ratios_figure(found, theme), "Histogram of distance ratios of samples and held-out data"
        )
    }
    if len(found["ratio"]) and (spec.event == "image" or spec.shape == (2,)):
        pictures["nearest"] = picture(
            lambda theme: pairs_figure(found, spec, theme), "Samples and their nearest training examples"
        )
    joined = "nearest" in pictures and spec.event != "image"
    return Panel(
        name="novelty", title="Novelty", values={"pairs": _pairs(found, spec), "joined": joined}, pictures=pictures
    )


def _pairs(found: Mapping[str, Array], spec: DataSpec) -> list[dict[str, Any]]:
    """Each suspicious sample and its nearest training example, closest first."""
    return [
        {
            "image": _pair(found, k, spec) if spec.event == "image" else None,
            "index": int(found["index"][k]),
            "neighbour_index": int(found["neighbour_index"][k]),
            "distance": words.number(float(found["distance"][k])),
            "ratio": words.number(float(found["ratio"][k]), 2),
        }
        for k in range(len(found["ratio"]))
    ]


def _pair(found: Mapping[str, Array], k: int, spec: DataSpec) -> Picture:
    """The sample on the left, its nearest training example on the right."""
    both = np.stack([found["samples"][k], found["neighbours"][k]])
    return picture(
        lambda theme: image_grid(both, spec, theme, num_columns=2),
        f"Sample {found['index'][k]} and training example {found['neighbour_index'][k]}",
    )


def pairs_figure(nearest: Mapping[str, Array], spec: DataSpec, theme: Theme) -> Figure:
    """All pairs of an image or 2-D data set in one picture."""
    samples, neighbours = nearest["samples"], nearest["neighbours"]
    if spec.event == "image":
        both = np.stack([samples, neighbours], axis=1).reshape(-1, *spec.shape)
        return image_grid(both, spec, theme, num_columns=min(8, len(both)))
    figure = blank_figure(640, 560, theme)
    axes = figure.add_subplot()
    for sample, neighbour in zip(samples, neighbours, strict=True):
        axes.plot(*zip(sample, neighbour, strict=True), color=theme.muted, linewidth=0.8, zorder=1)
    for points, label, size, colour in (
        (neighbours, "nearest training example", 22, theme.real),
        (samples, "sample", 10, theme.model),
    ):
        axes.scatter(points[:, 0], points[:, 1], s=size, color=colour, linewidths=0, label=label, zorder=2)
    dress(axes, theme)
    axes.set(xlabel="x₁ [data units]", ylabel="x₂ [data units]", aspect="equal", adjustable="datalim")
    legend(axes, theme, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderpad=0, handletextpad=0.1)
    return figure


def ratios_figure(nearest: Mapping[str, Array], theme: Theme) -> Figure:
    """Distance ratios of samples and of held-out data: copies pile up at 0."""
    model, real = nearest["model_ratios"], nearest["held_out_ratios"]
    figure = blank_figure(640, 420, theme)
    axes = figure.add_subplot()
    # Held-out data sets the scale, so that a model far from everything does not squeeze it into one bar.
    high = max(1.5, 1.5 * float(np.quantile(real[np.isfinite(real)], 0.99))) if np.isfinite(real).any() else 1.5
    edges = np.linspace(0, high, 41).tolist()
    # The last bar holds all that is farther, so that both add up to 100 %.
    styles: dict[str, dict[str, Any]] = {
        "held-out data": {"color": theme.real, "alpha": 0.6},
        "samples": {"color": theme.model, "histtype": "step", "linewidth": 1.4},
    }
    for (name, options), values in zip(styles.items(), (real, model), strict=True):
        weights = np.full(len(values), 100 / len(values))
        axes.hist(np.minimum(values, high), edges, weights=weights, label=name, **options)
    dress(axes, theme)
    axes.set(
        xlim=(0, high),
        xlabel="distance to nearest training example ÷ its own nearest distance",
        ylabel="share [%]",
    )
    legend(axes, theme, loc="upper right")
    return figure
