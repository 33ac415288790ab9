"""Mixtures of Gaussians fitted by expectation-maximisation, as a genpipe family."""

from __future__ import annotations

from genpipe.components import Family, Member
from genpipe.hookspecs import hookimpl

GAUSSIAN_MIXTURE = Family(
    name="gaussian_mixture",
    summary="mixture of Gaussians by expectation-maximisation, soft or hard; streams over data of any size",
    config="genpipe.plugins.mixture.config:MixtureConfig",
    build="genpipe.plugins.mixture.model:build",
    likelihood="exact",
    events=("image", "vector"),
    training="closed_form",
    capabilities=frozenset({"sample", "log_prob", "score"}),
    sampling_cost="one matrix product",
    papers=(
        "Dempster, Laird & Rubin (1977), Maximum Likelihood from Incomplete Data via the EM Algorithm",
        "Lloyd (1982), Least Squares Quantization in PCM",
        "Celeux & Govaert (1992), A Classification EM Algorithm for Clustering and Two Stochastic Versions",
        "Arthur & Vassilvitskii (2007), k-means++: The Advantages of Careful Seeding",
        "Schäfer & Strimmer (2005), A Shrinkage Approach to Large-Scale Covariance Matrix Estimation",
    ),
    members=(
        Member("tied", "one covariance for all components", {"covariance": "tied"}),
        Member("diagonal", "each component's columns independent", {"covariance": "diagonal"}),
        Member("spherical", "one variance for each component", {"covariance": "spherical"}),
        Member(
            "kmeans", "k-means, and the Gaussians that it supposes", {"algorithm": "kmeans", "covariance": "spherical"}
        ),
    ),
)


@hookimpl
def register_families() -> list[Family]:
    return [GAUSSIAN_MIXTURE]
