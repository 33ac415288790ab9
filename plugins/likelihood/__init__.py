"""Log-likelihood of held-out data, in nats and bits per dimension, with its kind."""

from __future__ import annotations

from genpipe.components import Metric
from genpipe.hookspecs import hookimpl


@hookimpl
def register_metrics() -> list[Metric]:
    return [
        Metric(
            name="likelihood",
            summary="log-likelihood of held-out data: nats per example and, on integers, bits per dimension",
            config="genpipe.plugins.likelihood.config:LikelihoodConfig",
            build="genpipe.plugins.likelihood.metric:build",
            needs="likelihood",
            axis="likelihood",
            defaults_for=("image", "vector", "sequence"),
            estimator="mean over held-out examples; exact, lower bound and estimate are never mixed",
            cost="one log_prob of every held-out example for each dequantisation",
        )
    ]
