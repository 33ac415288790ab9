"""Film strips: how samples came about, for models that make them step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from genpipe.dataspec import DataSpec
from genpipe.model import SamplePath
from genpipe.pictures import DPI, Theme, blank_figure, dress, frame, image_grid
from genpipe.pipelines.report.contents import Contents
from genpipe.pipelines.report.page import Panel
from genpipe.pipelines.report.picture import picture

Array = npt.NDArray[Any]

NUM_FRAMES = 8
NUM_IMAGES = 6
NUM_POINTS = 500
LABEL_PIXELS = 28


def panel(contents: Contents) -> Panel | None:
    spec, drawing = contents.spec, contents.drawing
    can_be_shown = spec.event == "image" or spec.shape == (2,)
    if "path" not in contents.capabilities or drawing is None or not can_be_shown:
        return None
    num = min(NUM_IMAGES if spec.event == "image" else NUM_POINTS, len(contents.samples))
    path = contents.model.sample_path(
        num, drawing.labels(0, num), seed=drawing.seed, sampler=drawing.sampler, num_frames=NUM_FRAMES
    )
    draw = image_film if spec.event == "image" else point_film
    real = contents.test.x[:NUM_POINTS]
    return Panel(
        name="path",
        title="From nothing to a sample",
        values={"num": num, "num_frames": len(path.labels), "pixel_by_pixel": path.drawn is not None},
        pictures={"path": picture(lambda theme: draw(path, real, spec, theme), f"How {num} samples came about")},
    )


def image_film(path: SamplePath, real: Array, spec: DataSpec, theme: Theme) -> Figure:
    """A row for each sample, a column for each moment, its label above."""
    frames = path.frames.cpu().numpy()
    num_frames, num = frames.shape[:2]
    by_sample = np.swapaxes(frames, 0, 1).reshape(num * num_frames, *spec.shape)
    drawn = None
    if path.drawn is not None:
        # A pixel is there once all of its channels are.
        drawn = np.tile(path.drawn.cpu().numpy().all(axis=1), (num, 1, 1))
    figure = image_grid(by_sample, spec, theme, num_columns=num_frames, drawn=drawn)
    width, height = figure.get_size_inches() * DPI
    figure.set_size_inches(width / DPI, (height + LABEL_PIXELS) / DPI)
    for k, label in enumerate(path.labels):
        figure.text((k + 0.5) / num_frames, 1 - 0.5 * LABEL_PIXELS / (height + LABEL_PIXELS), label, color=theme.muted,
                    fontsize=6, ha="center", va="center")  # fmt: skip
    return figure


def point_film(path: SamplePath, real: Array, spec: DataSpec, theme: Theme) -> Figure:
    """A scatter for each moment, all on the same axes, which noise and data share."""
    frames = path.frames.cpu().numpy()
    columns = min(4, len(frames))
    rows = -(-len(frames) // columns)
    figure = blank_figure(240 * columns, 262 * rows, theme)
    shared = np.concatenate([frames[0], frames[-1], real])
    for k, (points, label) in enumerate(zip(frames, path.labels, strict=True)):
        axes = figure.add_subplot(rows, columns, k + 1)
        axes.scatter(real[:, 0], real[:, 1], s=2, color=theme.real, alpha=0.35, linewidths=0)
        axes.scatter(points[:, 0], points[:, 1], s=2.5, color=theme.model, linewidths=0)
        frame(axes, shared)
        dress(axes, theme)
        axes.set(aspect="equal", xticklabels=[], yticklabels=[])
        axes.set_title(label, loc="left", fontsize=7, color=theme.ink)
    return figure
