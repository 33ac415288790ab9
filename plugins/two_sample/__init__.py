"""How well a classifier tells samples from real data that it has not seen."""

from __future__ import annotations

from genpipe.components import Metric
from genpipe.hookspecs import hookimpl


@hookimpl
def register_metrics() -> list[Metric]:
    return [
        Metric(
            name="two_sample",
            summary="accuracy of a classifier trained to tell samples from the training split, and its p-value",
            config="genpipe.plugins.two_sample.config:TwoSampleConfig",
            build="genpipe.plugins.two_sample.metric:build",
            needs="features",
            axis="quality",
            estimator="one held-out half; binomial error; p-value by the normal approximation",
            cost="one small classifier for each row",
            papers=("Lopez-Paz & Oquab (2017), Revisiting classifier two-sample tests",),
        )
    ]
