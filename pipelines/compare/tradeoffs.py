"""Trade-offs between two columns: a point for each model, with errors over seeds and the seeds themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from genpipe.comparison import Cell, Comparison, Row
from genpipe.comparison_text import short
from genpipe.pictures import Theme, blank_figure, dress
from genpipe.words import ARROWS

WIDTH_PIXELS, HEIGHT_PIXELS, LEGEND_ROW_PIXELS = 800, 560, 28
DASHES = (0, (5, 3))
MARKERS = "osD^vPX*<>"  # colours repeat after eight models, markers after ten
LOG_SPAN = 20.0  # a positive column that spans more is drawn by its logarithm
PRECISION, RECALL, SHARES = "precision", "recall", (-0.03, 1.05)
ORACLE, LEGEND_COLUMNS = "real data (oracle)", 3


@dataclass(frozen=True)
class TradeOff:
    """One against another. x, y: columns; alt: what it shows, in words."""

    name: str
    x: str
    y: str
    alt: str

    def draw(self, comparison: Comparison, theme: Theme) -> Figure:
        return tradeoff_figure(comparison, self.x, self.y, theme)


def tradeoffs(comparison: Comparison, quality: str | None, likelihood: str | None, sampling: str) -> list[TradeOff]:
    """Those that have the numbers: quality by cost, by likelihood, and precision by recall."""
    found = []
    if quality is not None:
        name = short(comparison, quality)
        found.append(TradeOff("quality-time", sampling, quality, f"{name} against the time of a sample"))
        if likelihood is not None:
            found.append(TradeOff("likelihood-quality", likelihood, quality, f"{name} against {likelihood}"))
    found.append(TradeOff("precision-recall", RECALL, PRECISION, "Precision against recall"))
    return [t for t in found if any(_points(comparison.models, t.x, t.y))]


def quality_column(comparison: Comparison) -> str | None:
    """The first distance that models have: one that falls as they get better and is no likelihood, share or cost."""
    for column in comparison.columns:
        cells = [cell for row in comparison.models if (cell := row.cell(column)) is not None]
        if cells and all(cell.better == "lower" and cell.kind is None for cell in cells) and "[" not in column:
            return column
    return None


def likelihood_column(comparison: Comparison) -> str | None:
    """bits/dim where there are such, else the first likelihood with a direction."""
    columns = [
        column
        for column in comparison.columns
        if any((cell := row.cell(column)) and cell.kind is not None and cell.better for row in comparison.models)
    ]
    return "bits/dim" if "bits/dim" in columns else next(iter(columns), None)


def tradeoff_figure(comparison: Comparison, x: str, y: str, theme: Theme) -> Figure:
    """Points of models, the oracle as a star, or as a line where it has but one of the two numbers."""
    rows = len(comparison.models) // LEGEND_COLUMNS + 1
    figure = blank_figure(WIDTH_PIXELS, HEIGHT_PIXELS + LEGEND_ROW_PIXELS * rows, theme)
    axes = figure.add_subplot()
    for i, row in enumerate(comparison.models):
        for cell_x, cell_y in _points([row], x, y):
            colour, marker = theme.series[i % len(theme.series)], MARKERS[i % len(MARKERS)]
            _draw_model(axes, row.name, cell_x, cell_y, colour, marker)
    _draw_oracle(axes, comparison, x, y, theme)
    dress(axes, theme)
    axes.margins(0.09)
    axes.set(xlabel=_label(comparison, x), ylabel=_label(comparison, y))
    if {x, y} == {PRECISION, RECALL}:
        axes.set(xlim=SHARES, ylim=SHARES)
    else:
        axes.set(xscale=_scale(comparison, x), yscale=_scale(comparison, y))
    handles, names = axes.get_legend_handles_labels()
    named = {n: h[0] if isinstance(h, ErrorbarContainer) else h for n, h in zip(names, handles, strict=True)}
    ordered = sorted(named, key=lambda name: name == ORACLE)
    figure.legend(
        [named[name] for name in ordered],
        ordered,
        loc="outside upper left",
        ncols=LEGEND_COLUMNS,
        frameon=False,
        fontsize=7.5,
        labelcolor=theme.ink,
    )
    return figure


def _points(rows: Sequence[Row], x: str, y: str) -> list[tuple[Cell, Cell]]:
    cells = [(row.cell(x), row.cell(y)) for row in rows]
    return [(a, b) for a, b in cells if a and b and math.isfinite(a.value) and math.isfinite(b.value)]


def _draw_model(axes: Axes, name: str, x: Cell, y: Cell, colour: str, marker: str) -> None:
    if len(x.values) == len(y.values) > 1:
        axes.scatter(x.values, y.values, s=9, color=colour, alpha=0.45, linewidths=0, zorder=2)
    axes.errorbar(
        x.value,
        y.value,
        xerr=_bar(x),
        yerr=_bar(y),
        color=colour,
        marker=marker,
        markersize=6.5,
        capsize=2.5,
        linewidth=1.1,
        linestyle="none",
        label=f"{name} ({_kind(x, y)})" if _kind(x, y) else name,
        zorder=3,
    )
    for cell, is_x in ((x, True), (y, False)):
        if cell.kind == "lower_bound":
            _draw_bound(axes, x.value, y.value, is_x, 1 if cell.better == "higher" else -1, colour)


def _draw_bound(axes: Axes, x: float, y: float, is_x: bool, sign: int, colour: str) -> None:
    """An arrow to the side where the truth is: a bound is the worst that it can be."""
    offset = (sign * 16, 0) if is_x else (0, sign * 16)
    arrow = {"arrowstyle": "<|-", "color": colour, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 3}
    axes.annotate("", xy=(x, y), xytext=offset, textcoords="offset points", arrowprops=arrow, zorder=3)


def _kind(x: Cell, y: Cell) -> str:
    return next((f"{cell.kind.replace('_', ' ')}" for cell in (x, y) if cell.kind is not None), "")


def _bar(cell: Cell) -> list[list[float]] | None:
    """Its error, kept above 0 on the way down where the value is: an axis may be logarithmic."""
    error = cell.standard_error
    if error is None or not math.isfinite(error) or error == 0:
        return None
    return [[min(error, 0.95 * cell.value) if cell.value > 0 else error], [error]]


def _draw_oracle(axes: Axes, comparison: Comparison, x: str, y: str, theme: Theme) -> None:
    for row in (row for row in comparison.rows if row.name == "oracle"):
        on_x, on_y = row.cell(x), row.cell(y)
        if on_x is not None and on_y is not None:
            axes.errorbar(
                on_x.value,
                on_y.value,
                xerr=_bar(on_x),
                yerr=_bar(on_y),
                color=theme.ink,
                marker="*",
                markersize=11,
                capsize=2.5,
                linewidth=1.1,
                linestyle="none",
                label=ORACLE,
                zorder=4,
            )
        elif on_y is not None:
            axes.axhline(on_y.value, color=theme.ink, linewidth=1, linestyle=DASHES, label=ORACLE)
            if bar := _bar(on_y):
                axes.axhspan(on_y.value - bar[0][0], on_y.value + bar[1][0], color=theme.real, alpha=0.18, linewidth=0)
        elif on_x is not None:
            axes.axvline(on_x.value, color=theme.ink, linewidth=1, linestyle=DASHES, label=ORACLE)


def _scale(comparison: Comparison, column: str) -> str:
    """A column is better seen by its logarithm where all of it is above 0, and far apart."""
    rows = [row for row in comparison.rows if row.is_model or row.name == "oracle"]
    values = [v for row in rows if (cell := row.cell(column)) is not None for v in (cell.value, *cell.values)]
    finite = [value for value in values if math.isfinite(value)]
    return "log" if finite and min(finite) > 0 and max(finite) > LOG_SPAN * min(finite) else "linear"


def _label(comparison: Comparison, column: str) -> str:
    better = comparison.better(column)
    return f"{short(comparison, column)}" + (f"  ({ARROWS[better]} better)" if better else "")
