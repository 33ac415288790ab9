"""How many different examples a row amounts to."""

from __future__ import annotations

from genpipe.components import Metric
from genpipe.hookspecs import hookimpl


@hookimpl
def register_metrics() -> list[Metric]:
    return [
        Metric(
            name="vendi",
            summary="Vendi score: the effective number of different directions among features, by their entropy",
            config="genpipe.plugins.vendi.config:VendiConfig",
            build="genpipe.plugins.vendi.metric:build",
            needs="features",
            axis="diversity",
            estimator="exact eigenvalues of the smaller Gram matrix of normalised features; error by the delta method",
            cost="a decomposition of a min(N, D)² matrix for each row",
            papers=(
                "Friedman & Dieng (2023), The Vendi score: a diversity evaluation metric for machine learning",
                "Pasarkar & Dieng (2024), Cousins of the Vendi score",
            ),
        )
    ]
