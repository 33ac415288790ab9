"""The vector-quantised autoencoder of van den Oord et al. (2017) as a genpipe family."""

from __future__ import annotations

from genpipe.components import Family
from genpipe.hookspecs import hookimpl

VQVAE = Family(
    name="vqvae",
    summary="autoencoder with discrete codes: images as a few tokens, for a prior to be learned over them",
    config="genpipe.plugins.vqvae.config:VQVAEConfig",
    build="genpipe.plugins.vqvae.model:build",
    likelihood="lower_bound",
    events=("image",),
    training="gradient",
    capabilities=frozenset({"sample", "log_prob", "encode", "decode", "posterior"}),
    codes="image",
    discrete=True,
    sampling_cost="one pass of the decoder",
    papers=(
        "van den Oord, Vinyals & Kavukcuoglu (2017), Neural Discrete Representation Learning",
        "Razavi, van den Oord & Vinyals (2019), Generating Diverse High-Fidelity Images with VQ-VAE-2",
        "Dhariwal et al. (2020), Jukebox: A Generative Model for Music",
        "Salimans et al. (2017), PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood "
        "and Other Modifications",
    ),
)


@hookimpl
def register_families() -> list[Family]:
    return [VQVAE]
