"""Maximum mean discrepancy between the features of samples and of real data: KID's polynomial kernel, and Gaussians."""

from __future__ import annotations

from genpipe.components import Metric
from genpipe.hookspecs import hookimpl

ESTIMATOR = "the full U-statistic over all pairs, unbiased; error by a jackknife less what it counts twice"
GRETTON = "Gretton et al. (2012), A kernel two-sample test"


@hookimpl
def register_metrics() -> list[Metric]:
    return [
        Metric(
            name="kid",
            summary="kernel distance of samples to the training split, polynomial of degree 3",
            config="genpipe.plugins.mmd.config:KidConfig",
            build="genpipe.plugins.mmd.metric:build_kid",
            needs="features",
            axis="quality",
            estimator=ESTIMATOR,
            cost="2 × N² kernel values in blocks, N² once for the training split; N at most 10,000",
            papers=("Bińkowski et al. (2018), Demystifying MMD GANs", GRETTON),
        ),
        Metric(
            name="mmd",
            summary="kernel distance of samples to the training split, Gaussians as wide as real examples are apart",
            config="genpipe.plugins.mmd.config:MmdConfig",
            build="genpipe.plugins.mmd.metric:build_mmd",
            needs="features",
            axis="quality",
            defaults_for=("2d",),
            estimator=ESTIMATOR,
            cost="2 × N² kernel values in blocks, N² once for the training split; N at most 10,000",
            papers=(GRETTON,),
        ),
    ]
