"""Normalizing flows: exact densities by change of variables, as a genpipe family."""

from __future__ import annotations

from genpipe.components import Family
from genpipe.hookspecs import hookimpl

FLOW = Family(
    name="flow",
    summary="normalizing flow of rational-quadratic splines or affine maps: autoregressive, coupling or multiscale",
    config="genpipe.plugins.flow.config:FlowConfig",
    build="genpipe.plugins.flow.model:build",
    likelihood="exact",
    events=("image", "vector"),
    training="gradient",
    capabilities=frozenset({"sample", "log_prob", "score", "encode", "decode"}),
    sampling_cost="one pass, or one for each dimension where autoregressive",
    papers=(
        "Dinh, Sohl-Dickstein & Bengio (2017), Density Estimation Using Real NVP",
        "Durkan, Bekasov, Murray & Papamakarios (2019), Neural Spline Flows",
        "Kingma & Dhariwal (2018), Glow: Generative Flow with Invertible 1x1 Convolutions",
        "Papamakarios, Pavlakou & Murray (2017), Masked Autoregressive Flow for Density Estimation",
    ),
)


@hookimpl
def register_families() -> list[Family]:
    return [FLOW]
