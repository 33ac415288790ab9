"""Pictures of examples: grids of images, scatters of points, histograms of columns, rasters of sequences.

Figures are made without pyplot, so nothing global is touched and any thread may draw.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from genpipe.dataspec import DataSpec

Array = npt.NDArray[Any]

MAX_IMAGES = 64
MAX_POINTS = 4000
MAX_COLUMNS = 9
MAX_SEQUENCES = 48
MAX_CLASSES = 26  # coloured apart
MAX_REAL = 10_000  # real examples drawn behind samples
WIDTH_PIXELS = 640
CHART_PIXELS = 520  # the width of a chart: beside another on a page, and readable when a phone shrinks it
DPI = 160


@dataclass(frozen=True, kw_only=True)
class Theme:
    """Colours of a figure. model and real: the two things that are compared; series: anything else, in
    order."""

    background: str
    ink: str
    muted: str
    rule: str
    model: str
    real: str
    series: tuple[str, ...]
    real_map: str


# Hues that stay apart for the colour-blind (Okabe & Ito, 2008), darker on light and lighter on dark.
LIGHT = Theme(
    background="#ffffff",
    ink="#20242c",
    muted="#667085",
    rule="#e4e7ec",
    model="#1f6fb2",
    real="#98a2b3",
    series=("#1f6fb2", "#c2570c", "#00806b", "#9c4a86", "#8a6d00", "#4b5563", "#c02f3f", "#5b4fcf"),
    real_map="Greys",
)
DARK = Theme(
    background="#171b22",
    ink="#e6e9ef",
    muted="#98a2b3",
    rule="#2c333e",
    model="#62b0ea",
    real="#667085",
    series=("#62b0ea", "#f0945a", "#3fc7a8", "#d992c4", "#e0c04a", "#a8b0bd", "#f2808a", "#a99ff5"),
    real_map="Greys_r",
)


def save(figure: Figure, path: Path) -> None:
    path.write_bytes(png(figure))


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=figure.get_facecolor())
    return buffer.getvalue()


def examples_figure(
    x: Array,
    spec: DataSpec,
    theme: Theme = LIGHT,
    *,
    labels: Array | None = None,
    real: Array | None = None,
    limit: int | None = None,
) -> Figure:
    """The first examples, as they come: as many as can be taken in at a look, or `limit`.

    x: (N, *spec.shape), data units, N at least 1. labels: (N,), colours points by class. real: (M,
    *spec.shape), real examples drawn behind vectors, to compare with.
    """
    if spec.event == "image":
        return image_grid(x[: limit or MAX_IMAGES], spec, theme)
    if spec.event == "sequence":
        return _raster(x[: limit or MAX_SEQUENCES], spec, theme)
    if spec.shape == (2,):
        return _scatter(x[: limit or MAX_POINTS], spec, theme, labels, real)
    return _histograms(x, spec, theme, real)


def blank_figure(width_pixels: float, height_pixels: float, theme: Theme) -> Figure:
    size = (width_pixels / DPI, height_pixels / DPI)
    return Figure(figsize=size, dpi=DPI, facecolor=theme.background, layout="constrained")


def dress(axes: Axes, theme: Theme) -> None:
    """A quiet frame: two spines, light rules, readable labels."""
    axes.set_facecolor(theme.background)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(theme.muted)
        axes.spines[side].set_linewidth(0.6)
    axes.tick_params(colors=theme.muted, labelsize=6.5, width=0.6, length=2.5)
    axes.grid(color=theme.rule, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.label.set(color=theme.ink, size=7.5)
    axes.yaxis.label.set(color=theme.ink, size=7.5)
    axes.title.set(color=theme.ink, size=8)


def legend(axes: Axes, theme: Theme, **options: Any) -> Legend:
    made = axes.legend(frameon=False, fontsize=6.5, labelcolor=theme.ink, **options)
    made.get_title().set_color(theme.muted)
    return made


def class_styles(spec: DataSpec, theme: Theme) -> list[tuple[str, str, str]]:
    """(name, colour, marker) of each class; empty where there are none, or more than can be told apart.

    Beyond the theme's own hues, which then come again, marks are the classes' names, or numbers where names are long.
    """
    num = spec.num_classes or 0
    if num > MAX_CLASSES:
        return []
    names = [spec.class_names[k] if k < len(spec.class_names) else f"class {k}" for k in range(num)]
    if num <= len(theme.series):
        return [(name, theme.series[k], "o") for k, name in enumerate(names)]
    marks = [name if len(name) <= 2 and name.isalnum() else str(k) for k, name in enumerate(names)]
    return [(name, theme.series[k % len(theme.series)], f"${marks[k]}$") for k, name in enumerate(names)]


# -- images ---------------------------------------------------------------------------------------------------


def displayable(x: Array, spec: DataSpec) -> Array:
    """Images (N, C, H, W) in data units as (N, H, W, 3) in [0, 1]; one channel is shown as grey."""
    if spec.levels is not None:
        unit = x.astype(np.float64) / (spec.levels - 1)
    else:
        low = spec.low if spec.low is not None else float(x.min())
        high = spec.high if spec.high is not None else float(x.max())
        unit = (x.astype(np.float64) - low) / max(high - low, 1e-12)
    channels = unit[:, :3] if unit.shape[1] >= 3 else np.repeat(unit[:, :1], 3, axis=1)
    return np.clip(channels.transpose(0, 2, 3, 1), 0, 1)


def image_grid(
    x: Array, spec: DataSpec, theme: Theme, *, num_columns: int | None = None, drawn: Array | None = None
) -> Figure:
    """Images side by side, each pixel a whole number of screen pixels. drawn: (N, H, W) bool, the pixels that are
    there, where some are not yet."""
    images = displayable(x, spec)
    if drawn is not None:
        images[~drawn] = to_rgb(theme.rule)
    num, height, width, _ = images.shape
    columns = num_columns or max(1, math.ceil(math.sqrt(num)))
    rows = math.ceil(num / columns)
    zoom = max(1, round(WIDTH_PIXELS / (columns * width)))
    gap = max(2, round(0.06 * width * zoom))
    cell_height, cell_width = height * zoom + gap, width * zoom + gap
    canvas = np.empty((rows * cell_height - gap, columns * cell_width - gap, 3))
    canvas[:] = to_rgb(theme.background)
    for i, image in enumerate(images):
        top, left = (i // columns) * cell_height, (i % columns) * cell_width
        canvas[top : top + height * zoom, left : left + width * zoom] = image.repeat(zoom, 0).repeat(zoom, 1)
    figure = Figure(figsize=(canvas.shape[1] / DPI, canvas.shape[0] / DPI), dpi=DPI, facecolor=theme.background)
    figure.figimage(canvas)
    return figure


# -- vectors and sequences ------------------------------------------------------------------------------------


def _scatter(x: Array, spec: DataSpec, theme: Theme, labels: Array | None, real: Array | None) -> Figure:
    figure = blank_figure(CHART_PIXELS, CHART_PIXELS, theme)
    axes = figure.add_subplot()
    behind = x if real is None else real[:MAX_POINTS]
    size = 4 if len(x) > 500 else 12
    if real is not None:
        axes.scatter(behind[:, 0], behind[:, 1], s=4, color=theme.real, alpha=0.45, linewidths=0, label="real")
    if labels is not None and spec.num_classes is not None and spec.num_classes <= len(theme.series):
        for label, (name, colour, _) in enumerate(class_styles(spec, theme)):
            chosen = x[labels[: len(x)] == label]
            axes.scatter(chosen[:, 0], chosen[:, 1], s=size, color=colour, linewidths=0, label=name)
    else:
        name = "data" if real is None else "samples"
        axes.scatter(x[:, 0], x[:, 1], s=size, color=theme.model, alpha=0.8, linewidths=0, label=name)
    frame(axes, behind)
    dress(axes, theme)
    axes.set(xlabel="x₁ [data units]", ylabel="x₂ [data units]", aspect="equal")
    # Above the frame: points fill the inside.
    legend(axes, theme, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderpad=0, handletextpad=0.1)
    return figure


def frame(axes: Axes, x: Array) -> None:
    """Limits from the bulk of the data, the same for data and samples; far outliers fall outside."""
    low, high = np.quantile(x, 0.001, axis=0), np.quantile(x, 0.999, axis=0)
    centre, half = (low + high) / 2, 0.6 * float((high - low).max()) or 1.0
    axes.set_xlim(centre[0] - half, centre[0] + half)
    axes.set_ylim(centre[1] - half, centre[1] + half)


def _histograms(x: Array, spec: DataSpec, theme: Theme, real: Array | None) -> Figure:
    """One histogram for each of the first columns."""
    count = min(spec.num_dimensions, MAX_COLUMNS)
    columns = min(3, count)
    rows = math.ceil(count / columns)
    figure = blank_figure(WIDTH_PIXELS, max(230, 200 * rows), theme)
    for i in range(count):
        axes = figure.add_subplot(rows, columns, i + 1)
        shown = [x[:, i]] if real is None else [real[:, i], x[:, i]]
        edges = np.histogram_bin_edges(shown[0], bins=min(40, max(8, len(x) // 8))).tolist()
        if real is not None:
            axes.hist(real[:, i], edges, density=True, color=theme.real, alpha=0.6, label="real")
        name = "data" if real is None else "samples"
        axes.hist(x[:, i], edges, density=True, color=theme.model, histtype="step", linewidth=1.2, label=name)
        dress(axes, theme)
        axes.set(xlabel=f"x{i + 1} [data units]", ylabel="density" if i % columns == 0 else "")
    if real is not None:
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(
            handles, names, loc="outside upper right", ncols=2, frameon=False, fontsize=6.5, labelcolor=theme.ink
        )
    return figure


def _raster(x: Array, spec: DataSpec, theme: Theme) -> Figure:
    """Sequences as rows, values as colour."""
    figure = blank_figure(WIDTH_PIXELS, 60 + 12 * len(x), theme)
    axes = figure.add_subplot()
    high = None if spec.levels is None else spec.levels - 1
    axes.imshow(x, aspect="auto", interpolation="nearest", cmap="viridis", vmin=0 if high else None, vmax=high)
    dress(axes, theme)
    axes.grid(visible=False)
    axes.set(xlabel="position", ylabel="example")
    return figure
