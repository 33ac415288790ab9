"""Which of the data's known modes samples have found."""

from __future__ import annotations

from genpipe.components import Metric
from genpipe.hookspecs import hookimpl


@hookimpl
def register_metrics() -> list[Metric]:
    return [
        Metric(
            name="modes",
            summary="modes of the data that samples found, samples that lie in one, and how evenly they are shared",
            config="genpipe.plugins.modes.config:ModesConfig",
            build="genpipe.plugins.modes.metric:build",
            needs="densities",
            axis="diversity",
            defaults_for=("2d",),
            estimator="counts of samples within three deviations of each mode; KL of their histogram to the even one",
            cost="N × K distances",
            papers=(
                "Srivastava, Valkov, Russell, Gutmann & Sutton (2017), VEEGAN",
                "Lin, Khetan, Fanti & Oh (2018), PacGAN",
            ),
        )
    ]
