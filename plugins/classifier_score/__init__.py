"""Inception score, and the same of another classifier."""

from __future__ import annotations

from genpipe.components import Metric
from genpipe.hookspecs import hookimpl


@hookimpl
def register_metrics() -> list[Metric]:
    return [
        Metric(
            name="classifier_score",
            summary="how surely a classifier names each sample, and how evenly it names all: 1 to the number of classes",
            config="genpipe.plugins.classifier_score.config:ClassifierScoreConfig",
            build="genpipe.plugins.classifier_score.metric:build",
            needs="logits",
            axis="quality",
            estimator="of all samples, its error by a jackknife over 10 splits; and the mean of 10 splits, as published",
            cost="one pass of the classifier",
            papers=("Salimans et al. (2016), Improved Techniques for Training GANs",),
        )
    ]
