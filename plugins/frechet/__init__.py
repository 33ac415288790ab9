"""Fréchet distance between the features of samples and of real data."""

from __future__ import annotations

from genpipe.components import Metric
from genpipe.hookspecs import hookimpl


@hookimpl
def register_metrics() -> list[Metric]:
    return [
        Metric(
            name="frechet",
            summary="Fréchet distance of Gaussians fitted to features of samples and of the training split",
            config="genpipe.plugins.frechet.config:FrechetConfig",
            build="genpipe.plugins.frechet.metric:build",
            needs="features",
            axis="quality",
            defaults_for=("image", "vector", "sequence"),
            estimator="streamed moments; bias corrected and error estimated by a jackknife",
            cost="N × D² for moments, a decomposition of a D×D matrix for each row",
            papers=(
                "Heusel et al. (2017), GANs trained by a two time-scale update rule converge to a local Nash equilibrium",
                "Dowson & Landau (1982), The Fréchet distance between multivariate normal distributions",
            ),
        )
    ]
