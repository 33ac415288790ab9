"""What a classifier says: whether it can be believed, and which classes it finds among samples."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure

from genpipe import words
from genpipe.parallel import Range
from genpipe.pictures import CHART_PIXELS, Theme, blank_figure, dress, legend
from genpipe.pipelines.features.compute import logits_of
from genpipe.pipelines.report.contents import Contents
from genpipe.pipelines.report.page import Panel
from genpipe.pipelines.report.panels.modes import FEW_BARS, shares_figure
from genpipe.pipelines.report.picture import picture

Array = npt.NDArray[Any]

NUM_BINS = 10
MAX_CLASSES = 50  # bars that can be told apart
MAX_SAMPLES = 10_000
BATCH = 256


class Bin(NamedTuple):
    """Predictions of like confidence. confidence, accuracy: their means; num: how many there are."""

    confidence: float
    accuracy: float
    num: int


def reliability(logits: Array, labels: Array) -> list[Bin]:
    """Of predictions in ten bins of equal width, those without any left out (Guo et al., 2017, eq. 2).

    logits: (N, K); labels: (N,).
    """
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    confidence = 1 / shifted.sum(axis=1)  # of the class with the greatest logit
    right = logits.argmax(axis=1) == labels
    # Intervals are open to the left, as in the paper: a confidence of 1 is in the last.
    which = np.clip(np.ceil(confidence * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1)
    return [
        Bin(float(confidence[which == k].mean()), float(right[which == k].mean()), int((which == k).sum()))
        for k in range(NUM_BINS)
        if (which == k).any()
    ]


def expected_calibration_error(bins: list[Bin]) -> float:
    """Guo et al. (2017), eq. 3."""
    num = sum(each.num for each in bins)
    return sum(each.num * abs(each.accuracy - each.confidence) for each in bins) / num


def panel(contents: Contents) -> Panel | None:
    features, test = contents.features, contents.test
    if test.y is None:
        return None
    name = next((name for name, kept in features.index.extractors.items() if kept.num_logits is not None), None)
    if name is None:
        return None
    kept, logits, labels = features[name], features.array(name, "test", "logits"), np.asarray(test.y)
    bins, accuracy = reliability(logits, labels), float((logits.argmax(axis=1) == labels).mean())
    error = expected_calibration_error(bins)
    pictures = {
        "reliability": picture(lambda theme: reliability_figure(bins, theme), "Accuracy of predictions by confidence")
    }
    if logits.shape[1] <= MAX_CLASSES:
        shares = class_shares(contents, name)
        pictures["classes"] = picture(
            lambda theme: shares_figure(shares.names, shares.held_out, shares.samples, "class", theme),
            "Share of held-out data and of samples that the classifier puts into each class",
        )
    return Panel(
        name="classifier",
        title="Classes",
        values={
            "extractor": kept.fingerprint,
            "accuracy": words.number(100 * accuracy, 1),
            "error": words.number(error, 3),
            "num": len(labels),
            "many": logits.shape[1] > FEW_BARS,
        },
        pictures=pictures,
        metrics={"classifier accuracy": accuracy, "classifier calibration error": error},
    )


class ClassShares(NamedTuple):
    """Of held-out data and of samples, (K,) each, by the classifier's predictions."""

    names: list[str]
    held_out: Array
    samples: Array


def class_shares(contents: Contents, extractor: str) -> ClassShares:
    """extractor: its id among the contents' features."""
    kept, spec = contents.features[extractor], contents.spec
    assert kept.num_logits is not None
    restored = contents.features.restored(extractor, spec, contents.device)
    shown = Range(0, min(len(contents.samples), MAX_SAMPLES))
    parts = [torch.from_numpy(np.array(contents.samples[at.slice])) for at in shown.cut(BATCH)]
    found = torch.cat([logits_of(restored, kept.name, part).argmax(dim=1) for part in parts]).numpy()
    of_held_out = contents.features.array(extractor, "test", "logits").argmax(axis=1)
    held_out, samples = (np.bincount(each, minlength=kept.num_logits) / len(each) for each in (of_held_out, found))
    names = [spec.class_names[k] if k < len(spec.class_names) else str(k) for k in range(kept.num_logits)]
    return ClassShares(names, held_out, samples)


def reliability_figure(bins: list[Bin], theme: Theme) -> Figure:
    """Points on the diagonal are as right as they are sure; their size is their share."""
    figure = blank_figure(CHART_PIXELS, 460, theme)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=theme.muted, linewidth=0.9, linestyle=(0, (4, 3)), label="as right as sure")
    confidence, accuracy, num = (np.array(column, dtype=float) for column in zip(*bins, strict=True))
    # Never 0, also where all are right: half an example is added to either side.
    spread = np.sqrt((accuracy * num + 0.5) * ((1 - accuracy) * num + 0.5) / num) / (num + 1)
    axes.errorbar(confidence, accuracy, yerr=spread, fmt="none", ecolor=theme.model, elinewidth=0.8, capsize=2)
    axes.scatter(
        confidence,
        accuracy,
        s=10 + 150 * num / num.sum(),
        color=theme.model,
        linewidths=0,
        label="predictions",
        zorder=3,
    )
    dress(axes, theme)
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(-0.03, 1.04), ylim=(-0.03, 1.04), aspect="equal")
    legend(axes, theme, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderpad=0, handletextpad=0.4)
    return figure
