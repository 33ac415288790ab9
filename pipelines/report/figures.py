"""The report's pictures, each in a light and a dark version."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from genpipe.dataspec import DataSpec
from genpipe.pictures import DARK, LIGHT, Theme, blank_figure, dress, image_grid, legend, png

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Picture:
    """A picture as PNG files. light, dark: the bytes; alt: what it shows, in words."""

    light: bytes
    dark: bytes
    alt: str

    @property
    def light_uri(self) -> str:
        return _uri(self.light)

    @property
    def dark_uri(self) -> str:
        return _uri(self.dark)


def _uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def picture(draw: Callable[[Theme], Figure | None], alt: str) -> Picture | None:
    """Draws in both themes; None where there is nothing to draw."""
    light, dark = draw(LIGHT), draw(DARK)
    return None if light is None or dark is None else Picture(png(light), png(dark), alt)


def pair_figure(sample: Array, neighbour: Array, spec: DataSpec, theme: Theme) -> Figure:
    """A sample (C, H, W) on the left, its nearest training example on the right."""
    return image_grid(np.stack([sample, neighbour]), spec, theme, num_columns=2)


def pairs_figure(nearest: Mapping[str, Array], spec: DataSpec, theme: Theme) -> Figure | None:
    """All pairs of an image or 2-D data set in one picture; None for other data."""
    samples, neighbours = nearest["samples"], nearest["neighbours"]
    if not len(samples):
        return None
    if spec.event == "image":
        both = np.stack([samples, neighbours], axis=1).reshape(-1, *spec.shape)
        return image_grid(both, spec, theme, num_columns=min(8, len(both)))
    if spec.shape != (2,):
        return None
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
