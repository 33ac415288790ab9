"""A sweep's picture: the metric against each of the values that were swept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from genpipe.pictures import LIGHT, WIDTH_PIXELS, Theme, blank_figure, dress
from genpipe.sweeps.domains import Range, parse_domain
from genpipe.sweeps.ranking import Ranked, Ranking

MAX_COLUMNS = 3
CELL_PIXELS = (420, 400)
MARGIN = 0.04


def sweep_figure(ranking: Ranking, domains: Mapping[str, str], theme: Theme = LIGHT) -> Figure:
    """A panel for each swept key: trials that finished, with the standard error over seeds, and marks at the bottom where
    others were stopped or failed.

    domains: how each key was written, which gives the axis its kind and its ends.
    """
    columns = min(MAX_COLUMNS, len(domains))
    lines = math.ceil(len(domains) / columns)
    width, height = CELL_PIXELS
    figure = blank_figure(max(WIDTH_PIXELS, columns * width), lines * height, theme)
    first: Axes | None = None
    for i, (key, domain) in enumerate(domains.items()):
        axes = figure.add_subplot(lines, columns, i + 1, sharey=first)
        first = first or axes
        _panel(axes, ranking.rows, key, domain, theme)
        dress(axes, theme)
        axes.set_xlabel(key)
        if i % columns == 0:
            axes.set_ylabel(f"{ranking.metric.partition('.')[2]} {'↓' if ranking.mode == 'min' else '↑'}")
        else:
            axes.tick_params(labelleft=False)
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=3, frameon=False, fontsize=6.5, labelcolor=theme.ink)
    return figure


def _panel(axes: Axes, rows: Sequence[Ranked], key: str, domain: str, theme: Theme) -> None:
    at = _positions(axes, [row.trial.values[key] for row in rows], domain)
    finished = [(x, row) for x, row in zip(at, rows, strict=True) if row.value is not None]
    places, heights = [x for x, _ in finished], [float(row.value or 0.0) for _, row in finished]
    errors: Any = [row.standard_error or 0.0 for _, row in finished]
    if any(errors):
        axes.errorbar(places, heights, errors, fmt="none", ecolor=theme.real, elinewidth=0.8, capsize=1.5)
    axes.scatter(places, heights, s=14, color=theme.model, linewidths=0, zorder=3, label="finished")
    ring: Any = {"s": 52, "facecolors": "none", "edgecolors": theme.series[1], "linewidths": 1.2}
    axes.scatter(places[:1], heights[:1], zorder=4, label="best", **ring)
    ended = [x for x, row in zip(at, rows, strict=True) if row.value is None]
    if ended:
        foot = axes.get_xaxis_transform()
        axes.scatter(
            ended, [0.0] * len(ended), s=40, marker="|", color=theme.muted, linewidths=1.0, transform=foot,
            clip_on=False, zorder=5, label="stopped early, or failed",
        )  # fmt: skip


def _positions(axes: Axes, values: Sequence[Any], domain: str) -> list[float]:
    """Where values lie along the axis, which is made for their domain."""
    parsed = parse_domain(domain)
    if isinstance(parsed, Range):
        low, high = float(parsed.low), float(parsed.high)
        if parsed.log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.tick_params(which="minor", length=0)
            margin = (high / low) ** MARGIN
            axes.set_xlim(low / margin, high * margin)
        else:
            axes.set_xlim(low - MARGIN * (high - low), high + MARGIN * (high - low))
        return [float(value) for value in values]
    names = list(dict.fromkeys(str(value) for value in _sorted(values)))
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.6, len(names) - 0.4)
    return [float(names.index(str(value))) for value in values]


def _sorted(values: Sequence[Any]) -> list[Any]:
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return sorted(values, key=None if numeric else str)
