"""How likely the model finds held-out data, its own training data and noise, and whether it tells them apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure

from genpipe import words
from genpipe.pictures import CHART_PIXELS, Theme, blank_figure, dress, legend
from genpipe.pipelines.report.contents import Contents
from genpipe.pipelines.report.page import Panel
from genpipe.pipelines.report.picture import picture
from genpipe.units import Units

Array = npt.NDArray[Any]

NAMES = {"held_out": "held-out data", "train": "training data", "noise": "noise"}


class Roc(NamedTuple):
    """hits, false_alarms: shares of the positives and of the negatives above each threshold, from none to all;
    auroc: the chance that a positive scores above a negative, ties counted half; error: its standard error."""

    hits: Array
    false_alarms: Array
    auroc: float
    error: float


def roc(positive: Array, negative: Array) -> Roc:
    """Of scores (P,) and (N,) of which the first should be higher; infinities rank like other numbers.

    The error is that of DeLong, DeLong & Clarke-Pearson (1988), eq. 1-5, for one curve.
    """
    both = np.concatenate([positive, negative])
    rank, num = ranks(both), (len(positive), len(negative))
    # The share of the others that each score is above: from its rank among all, less that among its own.
    above = (rank[: num[0]] - ranks(positive)) / num[1]
    below = 1 - (rank[num[0] :] - ranks(negative)) / num[0]
    variance = sum(float(part.var(ddof=1)) / len(part) for part in (above, below) if len(part) > 1)
    thresholds = np.unique(both)[::-1]
    hits, false_alarms = (
        np.concatenate([[0.0], np.searchsorted(np.sort(-part), -thresholds, side="right") / len(part)])
        for part in (positive, negative)
    )
    return Roc(hits, false_alarms, float(above.mean()), variance**0.5)


def ranks(scores: Array) -> Array:
    """From 1, ties at their mean; scipy.stats has the same, and takes half a second to import."""
    _, where, counts = np.unique(scores, return_inverse=True, return_counts=True)
    shared: Array = (counts.cumsum() - (counts - 1) / 2)[where]
    return shared


def typicality(nats: Array, train: Array) -> Array:
    """How near log-probabilities are to the training split's mean: the likeliest of all is no typical example
    (Nalisnick et al., 2019, eq. 4, for single examples)."""
    finite = train[np.isfinite(train)]
    centre = float(finite.mean()) if len(finite) else 0.0
    distance: Array = -np.abs(np.nan_to_num(nats, posinf=1e300, neginf=-1e300) - centre)
    return distance


def panel(contents: Contents) -> Panel | None:
    found = contents.likelihoods
    if found is None:
        return None
    nats, spec = found.nats, contents.spec
    curves = {
        "noise, by log p": roc(nats["held_out"], nats["noise"]),
        "noise, by typicality": roc(*(typicality(nats[name], nats["train"]) for name in ("held_out", "noise"))),
        "training data, by log p": roc(nats["train"], nats["held_out"]),
    }
    is_normalised = found.kind != "unnormalized"
    in_bits = spec.levels is not None and is_normalised
    shown, unit = dict(nats), "log p(x) [nats]" if is_normalised else "log p(x) up to a constant [nats]"
    if in_bits:
        units = Units(spec)
        shown = {name: units.bits_per_dim(torch.from_numpy(each)).numpy() for name, each in nats.items()}
        unit = "bits/dim"
    memorised = curves["training data, by log p"]
    return Panel(
        name="likelihoods",
        title="Likelihood in and out",
        values={
            "num": len(nats["held_out"]),
            "memorised": f"{memorised.auroc:.3f} ± {memorised.error:.3f}",
            "kind": words.KINDS[found.kind],
            "less_is_likelier": in_bits,
        },
        pictures={
            "likelihoods": picture(
                lambda theme: histograms_figure(shown, unit, theme), "Histograms of likelihoods of data and of noise"
            ),
            "roc": picture(lambda theme: roc_figure(curves, theme), "Receiver operating characteristics by likelihood"),
        },
        metrics={f"AUROC {name.replace(',', '')}": curve.auroc for name, curve in curves.items()},
    )


def histograms_figure(shown: Mapping[str, Array], unit: str, theme: Theme) -> Figure:
    """Shares of held-out data, training data and noise. shown: (N,) of each, in NAMES."""
    figure = blank_figure(CHART_PIXELS, 400, theme)
    axes = figure.add_subplot()
    # Real data sets the scale; what lies beyond is in the outer bars, so that all add up to 100 %.
    real = np.concatenate([shown["held_out"], shown["train"]])
    low, high = np.quantile(real[np.isfinite(real)], [0.005, 0.995]) if np.isfinite(real).any() else (0.0, 1.0)
    margin = 0.75 * (high - low) or 1.0
    low, high = low - margin, high + margin
    edges = np.linspace(low, high, 41).tolist()
    styles: dict[str, dict[str, Any]] = {
        "held_out": {"color": theme.real, "alpha": 0.6},
        "train": {"color": theme.model, "histtype": "step", "linewidth": 1.4},
        "noise": {"color": theme.series[1], "histtype": "step", "linewidth": 1.4, "linestyle": (0, (3, 2))},
    }
    for name, options in styles.items():
        values = np.clip(shown[name], low, high)
        axes.hist(values, edges, weights=np.full(len(values), 100 / len(values)), label=NAMES[name], **options)
    dress(axes, theme)
    tallest = max(bar.get_height() for bar in axes.containers[0])
    axes.set_ylim(0, max(1.6 * tallest, 5))  # noise is often one bar that would flatten all others
    axes.set(xlim=(low, high), xlabel=unit, ylabel="share [%]")
    legend(axes, theme, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderpad=0, handletextpad=0.4)
    return figure


def roc_figure(curves: Mapping[str, Roc], theme: Theme) -> Figure:
    """The share found of what should score higher, against the share of the rest that is taken for it."""
    figure = blank_figure(CHART_PIXELS, 400, theme)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=theme.muted, linewidth=0.8, linestyle=(0, (4, 3)))
    colours = (theme.series[1], theme.series[2], theme.model)
    for (name, curve), colour in zip(curves.items(), colours, strict=True):
        label = f"{name}: {curve.auroc:.3f} ± {curve.error:.3f}"
        axes.plot(curve.false_alarms, curve.hits, color=colour, linewidth=1.4, label=label, clip_on=False)
    dress(axes, theme)
    axes.set(xlabel="false positives [share]", ylabel="true positives [share]", xlim=(0, 1), ylim=(0, 1))
    legend(axes, theme, loc="lower right", title="against held-out data: AUROC", title_fontsize=6.5, alignment="left")
    return figure
