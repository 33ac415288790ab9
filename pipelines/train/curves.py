"""Training curves: a panel for every logged term."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genpipe.pictures import LIGHT, Theme, blank_figure, dress, save

VALIDATION_LOSS = "validation_loss"
PANEL_WIDTH_PIXELS = 480
PANEL_HEIGHT_PIXELS = 330


def write_history(history: Sequence[Mapping[str, float]], folder: Path) -> None:
    """Leaves history.jsonl, an entry in a line, and curves.png in the folder; nothing where nothing was logged."""
    if history:
        (folder / "history.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in history))
    figure = curves_figure(history, LIGHT)
    if figure is not None:
        save(figure, folder / "curves.png")


def term_names(history: Sequence[Mapping[str, float]]) -> list[str]:
    """What was logged, "loss" first and the learning rate last."""
    found = list(dict.fromkeys(name for entry in history for name in entry if name != "step"))
    return sorted(found, key=lambda name: (name == "learning_rate", name != "loss", found.index(name)))


def lowest(history: Sequence[Mapping[str, float]]) -> tuple[str, float, float] | None:
    """(term, step, value) where the loss was lowest: of the validation split where it was watched; None without."""
    names = term_names(history)
    for name in (VALIDATION_LOSS, "loss"):
        if name in names:
            best = min((entry for entry in history if name in entry), key=lambda entry: entry[name])
            return name, best["step"], best[name]
    return None


def panel_names(history: Sequence[Mapping[str, float]]) -> list[str]:
    """The terms that have a panel; the loss of the validation split is in that of the training's."""
    names = term_names(history)
    return [name for name in names if name != VALIDATION_LOSS or "loss" not in names]


def curves_figure(
    history: Sequence[Mapping[str, float]], theme: Theme, names: Sequence[str] | None = None
) -> Figure | None:
    """A panel per term over steps, the lowest loss circled; None where nothing was logged.

    The loss of the validation split, where it was watched, is drawn over the training's.

    history: entries with "step" and named numbers, as TrainResult.history. names: the terms to draw, or all.
    """
    every, best = term_names(history), lowest(history)
    shown = panel_names(history) if names is None else list(names)
    if not shown:
        return None
    columns = min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure = blank_figure(PANEL_WIDTH_PIXELS * columns, PANEL_HEIGHT_PIXELS * rows, theme)
    for i, name in enumerate(shown):
        axes = figure.add_subplot(rows, columns, i + 1)
        together = [name, VALIDATION_LOSS] if name == "loss" and VALIDATION_LOSS in every else [name]
        every_point: list[tuple[float, float]] = []
        for term in together:
            points = [(entry["step"], entry[term]) for entry in history if term in entry]
            every_point += points
            colour = theme.muted if term == "learning_rate" else theme.series[every.index(term) % len(theme.series)]
            marker = "o" if len(points) < 3 else None
            label = "validation" if term == VALIDATION_LOSS else "training"
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.2, marker=marker, markersize=3, label=label)
            if best is not None and best[0] == term:
                axes.plot(*best[1:], "o", color=colour, markerfacecolor="none", markersize=7, clip_on=False)
        dress(axes, theme)
        if len(together) > 1:
            axes.legend(fontsize=7, frameon=False, labelcolor=theme.ink)
        axes.set_title(name.replace("_", " "), loc="left", fontsize=8, color=theme.ink)
        axes.set_xlabel("step")
        axes.margins(x=0.02)
        axes.locator_params(axis="x", nbins=5)
        _zoom(axes, [value for _, value in sorted(every_point)])
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
