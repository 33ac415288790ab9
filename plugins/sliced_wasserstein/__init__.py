"""Sliced Wasserstein distances between the features of samples and of real data."""

from __future__ import annotations

from genpipe.components import Metric
from genpipe.hookspecs import hookimpl


@hookimpl
def register_metrics() -> list[Metric]:
    return [
        Metric(
            name="sliced_wasserstein",
            summary="Wasserstein distances of order 1 and 2 between samples and the training split, along random lines",
            config="genpipe.plugins.sliced_wasserstein.config:SlicedWassersteinConfig",
            build="genpipe.plugins.sliced_wasserstein.metric:build",
            needs="features",
            axis="quality",
            defaults_for=("2d", "vector"),
            estimator="exact on each line, by sorting; error of sampling and of the choice of lines",
            cost="N × D × lines, and a sort of N numbers per line",
            papers=(
                "Rabin et al. (2011), Wasserstein barycenter and its application to texture mixing",
                "Bonneel et al. (2015), Sliced and Radon Wasserstein barycenters of measures",
            ),
        )
    ]
