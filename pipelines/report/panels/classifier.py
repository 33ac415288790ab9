"""What a classifier says: whether it can be believed, and which classes it finds among samples."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure

from genpipe import words
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
        found = _classes_of_samples(contents, name)
        names = [*contents.spec.class_names, *(str(k) for k in range(len(contents.spec.class_names), logits.shape[1]))]
        shares = [np.bincount(each, minlength=logits.shape[1]) / len(each) for each in (logits.argmax(axis=1), found)]
        pictures["classes"] = picture(
            lambda theme: shares_figure(names, shares[0], shares[1], "class", theme),
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


def _classes_of_samples(contents: Contents, name: str) -> Array:
    extractor, samples = (
        contents.features.restored(name, contents.spec, contents.device),
        contents.samples[:MAX_SAMPLES],
    )
    parts = [torch.from_numpy(np.array(samples[k : k + BATCH])) for k in range(0, len(samples), BATCH)]
    answer: Array = torch.cat([logits_of(extractor, name, part).argmax(dim=1) for part in parts]).numpy()
    return answer


def reliability_figure(bins: list[Bin], theme: Theme) -> Figure:
    """Points on the diagonal are as right as they are sure; their size is their share."""
    figure = blank_figure(CHART_PIXELS, 460, theme)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=theme.muted, linewidth=0.9, linestyle=(0, (4, 3)), label="as right as sure")
    confidence, accuracy, num = (np.array(column, dtype=float) for column in zip(*bins, strict=True))
    spread = np.sqrt(accuracy * (1 - accuracy) / num)
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
