"""Quality against diversity: precision and recall, density and coverage, of every row of the table."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from genpipe.pictures import CHART_PIXELS, Theme, blank_figure, dress, legend
from genpipe.pipelines.report.contents import Contents
from genpipe.pipelines.report.page import Panel
from genpipe.pipelines.report.picture import picture
from genpipe.table import Estimate, Table

# Shapes, so that rows are told apart without colours, and where points lie on each other.
MARKERS = {"oracle": ("D", 6.0), "model": ("o", 5.0), "samples": ("o", 5.0), "copy": ("s", 4.0), "floor": ("v", 5.0)}


def panel(contents: Contents) -> Panel | None:
    table, pictures = contents.table, {}
    for x, y, name in (("recall", "precision", "precision_recall"), ("coverage", "density", "density_coverage")):
        if _pairs(table, x, y):
            pictures[name] = picture(
                lambda theme, x=x, y=y: pairs_figure(table, x, y, theme), f"{y.capitalize()} against {x} of every row"
            )
    if "precision_recall" not in pictures:
        return None
    return Panel(name="tradeoff", title="Quality against diversity", pictures=pictures)


def _pairs(table: Table, x: str, y: str) -> dict[str, tuple[Estimate, Estimate]]:
    """Both cells of the rows that have them, by row."""
    found = {}
    for row in table.rows:
        across, up = row.cell(x), row.cell(y)
        if across is not None and up is not None and math.isfinite(across.value) and math.isfinite(up.value):
            found[row.name] = (across, up)
    return found


def pairs_figure(table: Table, x: str, y: str, theme: Theme) -> Figure:
    figure = blank_figure(CHART_PIXELS, 440, theme)
    axes = figure.add_subplot()
    colours = {table.subject.name: theme.model, "oracle": theme.ink, "copy": theme.series[1], "floor": theme.muted}
    for name, (across, up) in _pairs(table, x, y).items():
        marker, size = MARKERS.get(name, ("P", 7.0))
        axes.errorbar(
            across.value, up.value, xerr=across.standard_error, yerr=up.standard_error, fmt=marker, markersize=size,
            color=colours.get(name, theme.series[2]), markerfacecolor="none" if name == "oracle" else None,
            elinewidth=0.8, capsize=2, label=name, linestyle="none", zorder=3 if name == table.subject.name else 2,
        )  # fmt: skip
    dress(axes, theme)
    axes.set(xlabel=f"{x} [share]", ylabel=f"{y} [share]", xlim=(-0.03, 1.03))
    axes.set_ylim(-0.03, max(1.03, axes.get_ylim()[1]))  # density has no upper end
    legend(axes, theme, loc="lower right", bbox_to_anchor=(1, 1), ncols=4, borderpad=0, handletextpad=0.1)
    return figure
