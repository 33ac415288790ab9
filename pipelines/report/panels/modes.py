"""Which modes samples fall into, beside held-out data: a mode that is missing is a bar that is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from genpipe.components import load_reference
from genpipe.pictures import CHART_PIXELS, Theme, blank_figure, dress, legend
from genpipe.pipelines.report.contents import Contents
from genpipe.pipelines.report.page import Panel
from genpipe.pipelines.report.picture import picture

Array = npt.NDArray[Any]
FEW_BARS = 12  # as many as a phone can show
WITHIN = 3.0  # standard deviations that count as being in a mode (Srivastava et al., 2017, sec. 4.1)


def panel(contents: Contents) -> Panel | None:
    record, config = contents.dataset_record
    if record.modes is None:
        return None
    centres, std = load_reference(record.modes)(config)
    centres = np.asarray(centres, dtype=np.float64)
    names = [str(k) for k in range(len(centres))] + ["none"]
    real, model = (mode_shares(np.asarray(x), centres, std) for x in (contents.test.x, contents.samples))
    found = int((model[:-1] > 0).sum())
    hint = (
        f"A point within {WITHIN:g} standard deviations of a mode is in it. The {len(contents.samples)} samples found "
        f"{found} of {len(centres)} modes; {100 * model[-1]:.1f} % are in none (held-out data: {100 * real[-1]:.1f} %)."
    )
    return Panel(
        name="modes",
        title="Modes",
        values={"hint": hint, "many": len(names) > FEW_BARS},
        pictures={
            "modes": picture(
                lambda theme: shares_figure(names, real, model, "mode", theme),
                "Share of samples and of held-out data in each mode",
            )
        },
    )


def mode_shares(x: Array, centres: Array, std: Any) -> Array:
    """Shares (K + 1,) of x (N, D) in each mode, the last those in none. centres: (K, D); std: a number, or (K,)."""
    squares = ((x[:, None].astype(np.float64) - centres) ** 2).sum(axis=2) / np.square(
        np.broadcast_to(std, len(centres))
    )
    nearest = np.where(squares.min(axis=1) <= WITHIN**2, squares.argmin(axis=1), len(centres))
    return np.bincount(nearest, minlength=len(centres) + 1) / len(x)


def shares_figure(names: Sequence[str], real: Array, model: Array, what: str, theme: Theme) -> Figure:
    """Two bars for each name: held-out data and samples."""
    figure = blank_figure(max(CHART_PIXELS, 34 * len(names)), 300, theme)
    axes = figure.add_subplot()
    at = np.arange(len(names))
    axes.bar(at - 0.2, 100 * real, 0.4, color=theme.real, alpha=0.7, label="held-out data")
    axes.bar(at + 0.2, 100 * model, 0.4, color=theme.model, label="samples")
    dress(axes, theme)
    axes.grid(visible=False, axis="x")
    axes.set(xlabel=what, ylabel="share [%]", xticks=at, xticklabels=names, xlim=(-0.6, len(names) - 0.4))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    legend(axes, theme, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderpad=0, handletextpad=0.4)
    return figure
