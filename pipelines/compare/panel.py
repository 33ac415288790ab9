"""Samples of every model side by side, as they came, below real data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from genpipe.dataspec import DataSpec
from genpipe.pictures import DPI, Theme, blank_figure, displayable, dress

Array = npt.NDArray[Any]
Examples = Sequence[tuple[str, Array]]

WIDTH_PIXELS, LABEL_PIXELS, MARGIN_PIXELS = 1100, 170, 10
PANEL_PIXELS, MAX_COLUMNS, MAX_POINTS = 300, 4, 1000
REAL = "held-out data"


def samples_figure(examples: Examples, spec: DataSpec, theme: Theme, num_images: int) -> Figure:
    """A row of images for each name; panels of points, of the first two numbers where there are more, or of sequences.

    examples: name → (N, *spec.shape), data units, real data first.
    """
    if spec.event == "image":
        return _strips([(name, displayable(x[:num_images], spec)) for name, x in examples], theme)
    if spec.event == "sequence" or spec.num_dimensions < 2:
        return _rasters([(name, x[:num_images]) for name, x in examples], spec, theme)
    return _scatters([(name, x[:MAX_POINTS]) for name, x in examples], theme)


def _strips(rows: Sequence[tuple[str, Array]], theme: Theme) -> Figure:
    """images: (N, H, W, 3) in [0, 1]; each pixel a whole number of screen pixels."""
    num, height, width = max(len(images) for _, images in rows), *rows[0][1].shape[1:3]
    gap = 4
    zoom = max(1, ((WIDTH_PIXELS - LABEL_PIXELS - 2 * MARGIN_PIXELS) // num - gap) // width)
    row_height = height * zoom + 2 * gap
    size = LABEL_PIXELS + num * (width * zoom + gap) + 2 * MARGIN_PIXELS, len(rows) * row_height + 2 * MARGIN_PIXELS
    canvas = np.empty((size[1], size[0], 3))
    canvas[:] = to_rgb(theme.background)
    figure = Figure(figsize=(size[0] / DPI, size[1] / DPI), dpi=DPI, facecolor=theme.background)
    for i, (name, images) in enumerate(rows):
        top = MARGIN_PIXELS + i * row_height
        for k, image in enumerate(images):
            left = LABEL_PIXELS + MARGIN_PIXELS + k * (width * zoom + gap)
            canvas[top : top + height * zoom, left : left + width * zoom] = image.repeat(zoom, 0).repeat(zoom, 1)
        middle = 1 - (top + height * zoom / 2) / size[1]
        colour = theme.muted if name == REAL else theme.ink
        figure.text(MARGIN_PIXELS / size[0], middle, name, color=colour, fontsize=8, va="center")
    figure.figimage(canvas, zorder=-1)
    return figure


def _panels(num: int, theme: Theme) -> tuple[Figure, int, int]:
    columns = min(MAX_COLUMNS, num)
    rows = math.ceil(num / columns)
    return blank_figure(PANEL_PIXELS * columns, (PANEL_PIXELS + 30) * rows, theme), rows, columns


def _scatters(examples: Examples, theme: Theme) -> Figure:
    """Points in the frame of the real data; what falls outside is counted in the title."""
    figure, rows, columns = _panels(len(examples), theme)
    real = examples[0][1]
    low, high = real[:, :2].min(axis=0), real[:, :2].max(axis=0)
    centre, half = (low + high) / 2, 0.6 * float((high - low).max()) or 1.0
    for i, (name, x) in enumerate(examples):
        axes = figure.add_subplot(rows, columns, i + 1)
        axes.scatter(x[:, 0], x[:, 1], s=3, color=theme.real if i == 0 else theme.model, alpha=0.8, linewidths=0)
        axes.set_xlim(centre[0] - half, centre[0] + half)
        axes.set_ylim(centre[1] - half, centre[1] + half)
        axes.set_aspect("equal")
        outside = int((np.abs(x[:, :2] - centre) > half).any(axis=1).sum())
        dress(axes, theme)
        axes.set_title(f"{name}, {outside} outside" if outside else name, loc="left", fontsize=8, color=theme.ink)
        axes.set_xlabel("x₁ [data units]" if i >= len(examples) - columns else "")
        axes.set_ylabel("x₂ [data units]" if i % columns == 0 else "")
    return figure


def _rasters(examples: Examples, spec: DataSpec, theme: Theme) -> Figure:
    """Sequences as rows, values as colour; one scale for all."""
    figure, rows, columns = _panels(len(examples), theme)
    real = examples[0][1]
    low, high = (0, spec.levels - 1) if spec.levels is not None else (float(real.min()), float(real.max()))
    for i, (name, x) in enumerate(examples):
        axes = figure.add_subplot(rows, columns, i + 1)
        axes.imshow(x, aspect="auto", interpolation="nearest", cmap="viridis", vmin=low, vmax=high)
        dress(axes, theme)
        axes.grid(visible=False)
        axes.set_title(name, loc="left", fontsize=8, color=theme.ink)
        axes.set_xlabel("position")
    return figure
