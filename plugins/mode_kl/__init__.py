"""Which classes samples fall into, against real data."""

from __future__ import annotations

from genpipe.components import Metric
from genpipe.hookspecs import hookimpl


@hookimpl
def register_metrics() -> list[Metric]:
    return [
        Metric(
            name="mode_kl",
            summary="KL divergence of the classes of samples from those of the training split, and how many are covered",
            config="genpipe.plugins.mode_kl.config:ModeKLConfig",
            build="genpipe.plugins.mode_kl.metric:build",
            needs="logits",
            axis="diversity",
            estimator="counts of the likeliest class, by the same classifier for samples and for real data",
            cost="one pass of the classifier",
            papers=(
                "Srivastava et al. (2017), VEEGAN: Reducing Mode Collapse in GANs using Implicit Variational Learning",
            ),
        )
    ]
