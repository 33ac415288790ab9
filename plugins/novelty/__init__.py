"""Whether samples are copies of training examples."""

from __future__ import annotations

from genpipe.components import Metric
from genpipe.hookspecs import hookimpl


@hookimpl
def register_metrics() -> list[Metric]:
    return [
        Metric(
            name="novelty",
            summary="share of samples that are copies of training examples, and their median distance ratio",
            config="genpipe.plugins.novelty.config:NoveltyConfig",
            build="genpipe.plugins.novelty.metric:build",
            needs="features",
            axis="novelty",
            defaults_for=("image", "vector", "sequence"),
            estimator="distance to the nearest training example over that one's own, against held-out data",
            cost="N × M distances in blocks",
        )
    ]
