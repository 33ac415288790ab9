"""Precision, recall, density and coverage of samples against real data."""

from __future__ import annotations

from genpipe.components import Metric
from genpipe.hookspecs import hookimpl


@hookimpl
def register_metrics() -> list[Metric]:
    return [
        Metric(
            name="prdc",
            summary="precision, recall, density and coverage: samples in balls around the training split, and back",
            config="genpipe.plugins.prdc.config:PrdcConfig",
            build="genpipe.plugins.prdc.metric:build",
            needs="features",
            axis="diversity",
            defaults_for=("image", "vector", "sequence"),
            estimator="balls to the k-th neighbour, counted exactly with strict <; equal numbers on both sides",
            cost="3 × N² distances in blocks",
            papers=(
                "Kynkäänniemi et al. (2019), Improved precision and recall metric for assessing generative models",
                "Naeem et al. (2020), Reliable fidelity and diversity metrics for generative models",
            ),
        )
    ]
