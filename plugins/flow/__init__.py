"""Normalizing flows: exact densities by change of variables, as a genpipe family."""

from __future__ import annotations

from genpipe.components import Family, Member
from genpipe.hookspecs import hookimpl

FLOW = Family(
    name="flow",
    summary="normalizing flow of rational-quadratic splines or affine maps: autoregressive, coupling, multiscale or Glow",
    config="genpipe.plugins.flow.config:FlowConfig",
    build="genpipe.plugins.flow.model:build",
    likelihood="exact",
    events=("image", "vector"),
    training="gradient",
    capabilities=frozenset({"sample", "log_prob", "score", "encode", "decode"}),
    conditional=True,
    sampling_cost="one pass, of maf number by number",
    members=(
        Member("realnvp", "affine couplings, at several scales of an image", {"transform": "affine"}),
        Member("maf", "masked autoregressive affine layers", {"structure": "autoregressive", "transform": "affine"}),
        Member(
            "glow",
            "steps of actnorm, 1×1 convolution by its LU factors, and affine coupling, at several scales",
            {"structure": "glow", "transform": "affine"},
            events=("image",),
        ),
        Member(
            "flow_pp",
            "splines, and a flow that learns where in its bin a whole number lies",
            {"dequantisation": "variational"},
            events=("image",),
        ),
    ),
    papers=(
        "Dinh, Sohl-Dickstein & Bengio (2017), Density Estimation Using Real NVP",
        "Durkan, Bekasov, Murray & Papamakarios (2019), Neural Spline Flows",
        "Ho, Chen, Srinivas, Duan & Abbeel (2019), Flow++: Improving Flow-Based Generative Models",
        "Kingma & Dhariwal (2018), Glow: Generative Flow with Invertible 1x1 Convolutions",
        "Papamakarios, Pavlakou & Murray (2017), Masked Autoregressive Flow for Density Estimation",
    ),
)


@hookimpl
def register_families() -> list[Family]:
    return [FLOW]
