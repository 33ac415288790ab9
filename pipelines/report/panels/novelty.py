"""The samples that lie closest to training examples, worst first, and how close samples come in general."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from genpipe import words
from genpipe.dataspec import DataSpec
from genpipe.pictures import CHART_PIXELS, LIGHT, MAX_POINTS, Theme, blank_figure, dress, frame, image_grid, legend, png
from genpipe.pipelines.report.contents import Contents
from genpipe.pipelines.report.page import Panel
from genpipe.pipelines.report.picture import Picture, picture

Array = npt.NDArray[Any]


def panel(contents: Contents) -> Panel:
    found, spec = contents.nearest, contents.spec
    ratios = picture(
        lambda theme: ratios_figure(found, theme), "Histogram of distance ratios of samples and held-out data"
    )
    pictures, files = {"ratios": ratios}, {}
    if len(found["ratio"]) and spec.event == "image":
        files["nearest"] = png(image_pairs(found, spec))
    elif len(found["ratio"]) and spec.shape == (2,):
        train = contents.train.x[:MAX_POINTS]
        pictures["nearest"] = picture(
            lambda theme: point_pairs(found, train, theme), "Samples joined to their nearest training examples"
        )
    values = {"pairs": _pairs(found, spec), "joined": "nearest" in pictures}
    return Panel(name="novelty", title="Novelty", values=values, pictures=pictures, files=files)


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


def image_pairs(nearest: Mapping[str, Array], spec: DataSpec) -> Figure:
    """Every pair, four in a row."""
    both = np.stack([nearest["samples"], nearest["neighbours"]], axis=1).reshape(-1, *spec.shape)
    return image_grid(both, spec, LIGHT, num_columns=min(8, len(both)))


def point_pairs(nearest: Mapping[str, Array], train: Array, theme: Theme) -> Figure:
    """Every pair, joined. train: training examples (N, 2) drawn behind them."""
    samples, neighbours = nearest["samples"], nearest["neighbours"]
    figure = blank_figure(CHART_PIXELS, 480, theme)
    axes = figure.add_subplot()
    axes.scatter(train[:, 0], train[:, 1], s=3, color=theme.rule, linewidths=0, zorder=0)
    for sample, neighbour in zip(samples, neighbours, strict=True):
        axes.plot(*zip(sample, neighbour, strict=True), color=theme.muted, linewidth=0.8, zorder=1)
    for points, label, size, colour in (
        (neighbours, "nearest training example", 26, theme.muted),
        (samples, "sample", 10, theme.model),
    ):
        axes.scatter(points[:, 0], points[:, 1], s=size, color=colour, linewidths=0, label=label, zorder=2)
    frame(axes, train)
    dress(axes, theme)
    axes.grid(visible=False)
    axes.set(xlabel="x₁ [data units]", ylabel="x₂ [data units]", aspect="equal")
    legend(axes, theme, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderpad=0, handletextpad=0.1)
    return figure


def ratios_figure(nearest: Mapping[str, Array], theme: Theme) -> Figure:
    """Distance ratios of samples and of held-out data: copies pile up at 0."""
    model, real = nearest["model_ratios"], nearest["held_out_ratios"]
    figure = blank_figure(CHART_PIXELS, 380, theme)
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
        xlabel="distance to the nearest training example\n÷ its own distance to the nearest other",
        ylabel="share [%]",
    )
    legend(axes, theme, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderpad=0)
    return figure
