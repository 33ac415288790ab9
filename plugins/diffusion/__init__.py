"""Denoising diffusion (Ho et al., 2020) as a genpipe family."""

from __future__ import annotations

from genpipe.components import Family
from genpipe.hookspecs import hookimpl

DIFFUSION = Family(
    name="diffusion",
    summary="denoising diffusion in discrete time sampled by DDPM, DDIM or DPM-Solver++",
    config="genpipe.plugins.diffusion.config:DiffusionConfig",
    build="genpipe.plugins.diffusion.model:build",
    likelihood="lower_bound",
    events=("image", "vector"),
    training="gradient",
    capabilities=frozenset({"sample", "path", "log_prob", "score"}),
    samplers={
        "ddpm": {"num_steps": None},
        "ddim": {"num_steps": None, "eta": 0.0},
        "dpmsolver++": {"num_steps": None},
    },
    sampling_cost="num_steps network evaluations",
    estimators={"probability_flow": {"num_samples": 4, "num_steps": 50}},
    papers=(
        "Ho, Jain & Abbeel (2020), Denoising Diffusion Probabilistic Models",
        "Song, Meng & Ermon (2021), Denoising Diffusion Implicit Models",
        "Lu, Zhou, Bao, Chen, Li & Zhu (2022), DPM-Solver++",
        "Nichol & Dhariwal (2021), Improved Denoising Diffusion Probabilistic Models",
        "Kingma, Salimans, Poole & Ho (2021), Variational Diffusion Models",
        "Song, Sohl-Dickstein, Kingma, Kumar, Ermon & Poole (2021), Score-Based Generative Modeling through SDEs",
        "Salimans & Ho (2022), Progressive Distillation for Fast Sampling of Diffusion Models",
    ),
)


@hookimpl
def register_families() -> list[Family]:
    return [DIFFUSION]
