"""The variational autoencoder of Kingma & Welling (2014) as a genpipe family."""

from __future__ import annotations

from genpipe.components import Family
from genpipe.hookspecs import hookimpl

VAE = Family(
    name="vae",
    summary="variational autoencoder with a Gaussian decoder of learned variance",
    config="genpipe.plugins.vae.config:VAEConfig",
    build="genpipe.plugins.vae.model:build",
    likelihood="lower_bound",
    events=("image", "vector"),
    training="gradient",
    capabilities=frozenset({"sample", "log_prob", "encode", "decode", "posterior"}),
    codes="vector",
    samplers={"draw": {}, "mean": {}},
    sampling_cost="one pass of the decoder",
    estimators={"iwae": {"num_samples": 64}, "ais": {"num_samples": 16, "num_steps": 1000}},
    papers=(
        "Kingma & Welling (2014), Auto-Encoding Variational Bayes",
        "Higgins et al. (2017), beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework",
        "Burda, Grosse & Salakhutdinov (2016), Importance Weighted Autoencoders",
        "Wu, Burda, Salakhutdinov & Grosse (2017), On the Quantitative Analysis of Decoder-Based Generative Models",
        "Rybkin et al. (2021), Simple and Effective VAE Training with Calibrated Decoders",
    ),
)


@hookimpl
def register_families() -> list[Family]:
    return [VAE]
