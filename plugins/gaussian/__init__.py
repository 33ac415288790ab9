"""The Gaussian of maximum likelihood, whole or by class, and linear regression as one of its conditionals."""

from __future__ import annotations

from genpipe.components import Family, Member
from genpipe.hookspecs import hookimpl

GAUSSIAN = Family(
    name="gaussian",
    summary="the Gaussian of maximum likelihood; its conditionals are linear regressions",
    config="genpipe.plugins.gaussian.config:GaussianConfig",
    build="genpipe.plugins.gaussian.model:build",
    likelihood="exact",
    events=("image", "vector"),
    training="closed_form",
    capabilities=frozenset({"sample", "log_prob", "score", "encode", "decode"}),
    conditional=True,
    sampling_cost="one matrix product",
    papers=(
        "Schäfer & Strimmer (2005), A Shrinkage Approach to Large-Scale Covariance Matrix Estimation",
        "Bishop (2006), Pattern Recognition and Machine Learning, sec. 2.3",
    ),
    members=(Member("diagonal", "columns independent", {"covariance": "diagonal"}),),
)


@hookimpl
def register_families() -> list[Family]:
    return [GAUSSIAN]
