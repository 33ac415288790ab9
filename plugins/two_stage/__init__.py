"""Two models as one: a coder, and a prior over its codes."""

from __future__ import annotations

from genpipe.components import Family
from genpipe.hookspecs import hookimpl

TWO_STAGE = Family(
    name="two_stage",
    summary="a coder and a prior over its codes, each trained by itself: tokens with a prior, diffusion over latents",
    config="genpipe.plugins.two_stage.config:TwoStageConfig",
    build="genpipe.plugins.two_stage.model:build",
    likelihood="lower_bound",
    events=("image", "vector", "sequence"),
    training="composed",
    capabilities=frozenset({"sample", "log_prob", "encode", "decode"}),
    conditional=True,  # where a part is
    sampling_cost="the prior's, and one pass of the decoder",
    parts=("coder", "prior"),
    composed="genpipe.plugins.two_stage.record:composed",
    papers=(
        "van den Oord, Vinyals & Kavukcuoglu (2017), Neural Discrete Representation Learning",
        "Rombach et al. (2022), High-Resolution Image Synthesis with Latent Diffusion Models",
        "Dai & Wipf (2019), Diagnosing and Enhancing VAE Models",
    ),
)


@hookimpl
def register_families() -> list[Family]:
    return [TWO_STAGE]
