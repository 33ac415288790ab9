"""Densities without a model: a kernel on every example, and a histogram."""

from __future__ import annotations

from genpipe.components import Family
from genpipe.hookspecs import hookimpl

KERNEL_DENSITY = Family(
    name="kernel_density",
    summary="a Gaussian kernel on every training example, its width by cross-validation",
    config="genpipe.plugins.kernel_density.config:KernelDensityConfig",
    build="genpipe.plugins.kernel_density.model:build",
    likelihood="exact",
    events=("image", "vector"),
    training="closed_form",
    capabilities=frozenset({"sample", "log_prob", "score"}),
    sampling_cost="one look-up",
    papers=(
        "Parzen (1962), On Estimation of a Probability Density Function and Mode",
        "Habbema, Hermans & van den Broek (1974), A Stepwise Discriminant Analysis Program Using Density Estimation",
    ),
)

HISTOGRAM = Family(
    name="histogram",
    summary="counts of the training examples in equal boxes, their number by cross-validation",
    config="genpipe.plugins.kernel_density.config:HistogramConfig",
    build="genpipe.plugins.kernel_density.histogram:build",
    likelihood="exact",
    events=("image", "vector"),
    training="closed_form",
    capabilities=frozenset({"sample", "log_prob"}),
    sampling_cost="one look-up",
    papers=(
        "Scott (1992), Multivariate Density Estimation, chapter 3",
        "Ferguson (1973), A Bayesian Analysis of Some Nonparametric Problems",
    ),
)


@hookimpl
def register_families() -> list[Family]:
    return [KERNEL_DENSITY, HISTOGRAM]
