"""Generative adversarial networks (Goodfellow et al., 2014) as a genpipe family."""

from __future__ import annotations

from genpipe.components import Family
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
    sampling_cost="one pass of the generator",
    papers=(
        "Goodfellow et al. (2014), Generative Adversarial Nets",
        "Gulrajani, Ahmed, Arjovsky, Dumoulin & Courville (2017), Improved Training of Wasserstein GANs",
        "Miyato, Kataoka, Koyama & Yoshida (2018), Spectral Normalization for Generative Adversarial Networks",
    ),
)


@hookimpl
def register_families() -> list[Family]:
    return [GAN]
