"""Denoising diffusion and flow matching: noise carried to data in small steps, as genpipe families."""

from __future__ import annotations

from genpipe.components import Family, Member
from genpipe.hookspecs import hookimpl

DIFFUSION = Family(
    name="diffusion",
    summary="denoising diffusion (DDPM, v-prediction, EDM) sampled by DDPM, DDIM, DPM-Solver++, Heun or Euler",
    config="genpipe.plugins.diffusion.config:DiffusionConfig",
    build="genpipe.plugins.diffusion.model:build",
    likelihood="lower_bound",
    events=("vector", "image"),
    training="gradient",
    conditional=True,
    capabilities=frozenset({"sample", "path", "log_prob", "score"}),
    members=(
        Member(
            "ddpm", "predicts the noise, on a linear schedule", {"prediction_type": "epsilon", "schedule": "linear"}
        ),
        Member("v_prediction", "predicts v, on the cosine schedule; the default", {"prediction_type": "v_prediction"}),
        Member("edm", "preconditioned by the size of the data, log σ drawn normally", {"prediction_type": "edm"}),
    ),
    samplers={
        "ddim": {"num_steps": 50, "eta": 0.0, "rho": None, "guidance": 1.0},
        "ddpm": {"num_steps": 100, "rho": None, "guidance": 1.0},
        "dpmsolver++": {"num_steps": 25, "rho": None, "guidance": 1.0},
        "heun": {"num_steps": 18, "rho": None, "guidance": 1.0},
        "euler": {"num_steps": 50, "rho": None, "guidance": 1.0},
    },
    check_sampler="genpipe.plugins.diffusion.sampling:check_sampler",
    sampling_cost="num_steps passes of the network, 2 num_steps − 1 by heun",
    estimators={"probability_flow": {"num_samples": 4, "num_steps": 50}},
    papers=(
        "Ho, Jain & Abbeel (2020), Denoising Diffusion Probabilistic Models",
        "Song, Meng & Ermon (2021), Denoising Diffusion Implicit Models",
        "Lu, Zhou, Bao, Chen, Li & Zhu (2022), DPM-Solver++",
        "Karras, Aittala, Aila & Laine (2022), Elucidating the Design Space of Diffusion-Based Generative Models",
        "Nichol & Dhariwal (2021), Improved Denoising Diffusion Probabilistic Models",
        "Kingma, Salimans, Poole & Ho (2021), Variational Diffusion Models",
        "Song, Sohl-Dickstein, Kingma, Kumar, Ermon & Poole (2021), Score-Based Generative Modeling through SDEs",
        "Salimans & Ho (2022), Progressive Distillation for Fast Sampling of Diffusion Models",
        "Ho & Salimans (2022), Classifier-Free Diffusion Guidance",
        "Hang, Gu, Li, Bao, Chen, Hu, Geng & Guo (2023), Efficient Diffusion Training via Min-SNR Weighting Strategy",
    ),
)

FLOW_MATCHING = Family(
    name="flow_matching",
    summary="a flow along straight paths from noise to data, its velocity learnt by regression",
    config="genpipe.plugins.diffusion.config:FlowMatchingConfig",
    build="genpipe.plugins.diffusion.flow_matching:build",
    likelihood="estimate",
    events=("vector", "image"),
    training="gradient",
    conditional=True,
    capabilities=frozenset({"sample", "path", "log_prob"}),
    members=(
        Member("independent", "any noise with any example; the default", {"coupling": "independent"}),
        Member(
            "optimal_transport",
            "noise paired with near examples, set by set",
            {"coupling": "optimal_transport", "coupling_size": 16},
        ),
    ),
    samplers={
        "heun": {"num_steps": 16, "shift": 1.0, "guidance": 1.0},
        "euler": {"num_steps": 50, "shift": 1.0, "guidance": 1.0},
        "dpmsolver++": {"num_steps": 25, "shift": 1.0, "guidance": 1.0},
    },
    check_sampler="genpipe.plugins.diffusion.sampling:check_sampler",
    sampling_cost="num_steps passes of the network, 2 num_steps − 1 by heun",
    estimators={"probability_flow": {"num_samples": 4, "num_steps": 50}},
    papers=(
        "Lipman, Chen, Ben-Hamu, Nickel & Le (2023), Flow Matching for Generative Modeling",
        "Liu, Gong & Liu (2023), Flow Straight and Fast",
        "Pooladian, Ben-Hamu, Domingo-Enrich, Amos, Lipman & Chen (2023), Multisample Flow Matching",
        "Tong, Fatras, Malkin, Huguet, Zhang, Rector-Brooks, Wolf & Bengio (2024), Minibatch Optimal Transport",
        "Esser, Kulal, Blattmann et al. (2024), Scaling Rectified Flow Transformers",
        "Ho & Salimans (2022), Classifier-Free Diffusion Guidance",
    ),
)


@hookimpl
def register_families() -> list[Family]:
    return [DIFFUSION, FLOW_MATCHING]
