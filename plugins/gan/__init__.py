"""Generative adversarial networks (Goodfellow et al., 2014) as a genpipe family."""

from __future__ import annotations

from genpipe.components import Family, Member
from genpipe.hookspecs import hookimpl

GAN = Family(
    name="gan",
    summary="generative adversarial network: Wasserstein with gradient penalty, non-saturating or hinge loss",
    config="genpipe.plugins.gan.config:GANConfig",
    build="genpipe.plugins.gan.model:build",
    likelihood=None,
    events=("image", "vector"),
    training="gradient",
    capabilities=frozenset({"sample", "decode"}),
    conditional=True,
    sampling_cost="one pass of the generator",
    members=(
        Member(
            "non_saturating",
            "the first kind: a classifier's loss, one step each",
            {"loss": "non_saturating", "num_critic_steps": 1},
        ),
        Member("hinge", "a margin, and a critic of spectral norm 1", {"loss": "hinge"}),
    ),
    papers=(
        "Goodfellow et al. (2014), Generative Adversarial Nets",
        "Gulrajani, Ahmed, Arjovsky, Dumoulin & Courville (2017), Improved Training of Wasserstein GANs",
        "Miyato & Koyama (2018), cGANs with Projection Discriminator",
        "Miyato, Kataoka, Koyama & Yoshida (2018), Spectral Normalization for Generative Adversarial Networks",
    ),
)


@hookimpl
def register_families() -> list[Family]:
    return [GAN]
