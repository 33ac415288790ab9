"""Mixtures of Gaussians fitted by expectation-maximisation, as a genpipe family."""

from __future__ import annotations

from genpipe.components import Family
from genpipe.hookspecs import hookimpl

GAUSSIAN_MIXTURE = Family(
    name="gaussian_mixture",
    summary="mixture of Gaussians by expectation-maximisation; one component is the single Gaussian",
    config="genpipe.plugins.mixture.config:MixtureConfig",
    build="genpipe.plugins.mixture.model:build",
    likelihood="exact",
    events=("image", "vector"),
    training="closed_form",
    capabilities=frozenset({"sample", "log_prob", "score"}),
    sampling_cost="one matrix product",
    papers=(
        "Dempster, Laird & Rubin (1977), Maximum Likelihood from Incomplete Data via the EM Algorithm",
        "Arthur & Vassilvitskii (2007), k-means++: The Advantages of Careful Seeding",
        "Schäfer & Strimmer (2005), A Shrinkage Approach to Large-Scale Covariance Matrix Estimation",
    ),
)


@hookimpl
def register_families() -> list[Family]:
    return [GAUSSIAN_MIXTURE]
