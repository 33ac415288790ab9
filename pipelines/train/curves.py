"""Training curves: a panel for every logged term."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genpipe.pictures import Theme, blank_figure, dress

WIDTH_PIXELS = 1000
PANEL_HEIGHT_PIXELS = 300


def curves_figure(history: Sequence[Mapping[str, float]], theme: Theme) -> Figure | None:
    """One panel per term over steps, "loss" first and the learning rate last; None where nothing was logged.

    history: entries with "step" and named numbers, as TrainResult.history.
    """
    found = list(dict.fromkeys(name for entry in history for name in entry if name != "step"))
    names = sorted(found, key=lambda name: (name == "learning_rate", name != "loss", found.index(name)))
    if not names:
        return None
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure = blank_figure(WIDTH_PIXELS * columns / 3, PANEL_HEIGHT_PIXELS * rows, theme)
    for i, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, i + 1)
        points = [(entry["step"], entry[name]) for entry in history if name in entry]
        marker = "o" if len(points) < 3 else None
        colour = theme.muted if name == "learning_rate" else theme.series[i % len(theme.series)]
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.2, marker=marker, markersize=3)
        dress(axes, theme)
        axes.set_title(name.replace("_", " "), loc="left")
        axes.set_xlabel("step")
        axes.margins(x=0.02)
        axes.locator_params(axis="x", nbins=5)
        _zoom(axes, [value for _, value in points])
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4), useMathText=True)
        axes.yaxis.get_offset_text().set(size=6.5, color=theme.muted)
    return figure


def _zoom(axes: Axes, values: Sequence[float]) -> None:
    """Keeps the first entries, often far above the rest, from flattening what follows; they leave the
    frame."""
    later = sorted(values[len(values) // 10 :])
    if len(later) < 10:
        return
    low, high = later[0], later[-1]
    margin = 0.08 * (high - low)
    if margin > 0 and max(values) > high + 3 * (high - low):
        axes.set_ylim(low - margin, high + margin)
