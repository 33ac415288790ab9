"""Whether samples are copies of training examples."""

from __future__ import annotations

from genpipe.components import Metric
from genpipe.hookspecs import hookimpl


@hookimpl
def register_metrics() -> list[Metric]:
    return [
        Metric(
            name="novelty",
            summary="share of samples that are copies of training examples, authenticity, and C_T by Mann-Whitney z-scores",
            config="genpipe.plugins.novelty.config:NoveltyConfig",
            build="genpipe.plugins.novelty.metric:build",
            needs="features",
            axis="novelty",
            defaults_for=("image", "vector", "sequence"),
            estimator="distances to the nearest training example, against those of held-out data",
            cost="N × M distances in blocks",
            papers=(
                "Meehan, Chaudhuri & Dasgupta (2020), A Non-Parametric Test to Detect Data-Copying in Generative Models",
                "Alaa, van Breugel, Saveliev & van der Schaar (2022), How Faithful is your Synthetic Data?",
            ),
        )
    ]
