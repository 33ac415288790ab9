"""Divergences between a model and a truth whose density is known."""

from __future__ import annotations

from genpipe.components import Metric
from genpipe.hookspecs import hookimpl


@hookimpl
def register_metrics() -> list[Metric]:
    return [
        Metric(
            name="divergences",
            summary="forward and reverse KL, Jensen-Shannon, Fisher divergence and Wasserstein distance to the true density",
            config="genpipe.plugins.divergences.config:DivergencesConfig",
            build="genpipe.plugins.divergences.metric:build",
            needs="densities",
            axis="quality",
            defaults_for=("2d",),
            estimator="Monte Carlo means over held-out data and samples; Wasserstein by exact transport of blocks",
            cost="two log_prob of every example, a score, and assignments of blocks of 500",
            papers=(
                "Lin (1991), Divergence Measures Based on the Shannon Entropy",
                "Hyvärinen (2005), Estimation of Non-Normalized Statistical Models by Score Matching",
            ),
        )
    ]
