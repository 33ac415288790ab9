"""Autoencoders (Hinton & Salakhutdinov, 2006) as a genpipe family: codes, and why codes alone are no model of data."""

from __future__ import annotations

from genpipe.components import Family, Member
from genpipe.hookspecs import hookimpl

AUTOENCODER = Family(
    name="autoencoder",
    summary="autoencoder, plain or denoising: codes, no likelihood, and samples that show what is missing",
    config="genpipe.plugins.autoencoder.config:AutoencoderConfig",
    build="genpipe.plugins.autoencoder.model:build",
    likelihood=None,
    events=("image", "vector"),
    training="gradient",
    capabilities=frozenset({"sample", "encode", "decode"}),
    codes="vector",
    samplers={"gaussian": {}, "standard_normal": {}},
    sampling_cost="one pass of the decoder",
    papers=(
        "Hinton & Salakhutdinov (2006), Reducing the Dimensionality of Data with Neural Networks",
        "Vincent, Larochelle, Bengio & Manzagol (2008), Extracting and Composing Robust Features with Denoising "
        "Autoencoders",
        "Ghosh et al. (2020), From Variational to Deterministic Autoencoders",
    ),
    members=(
        Member("denoising", "restores examples from noise of a deviation of 0.3", {"noise_std": 0.3}),
        Member("resnet", "residual blocks at each resolution", {"network": "resnet"}, events=("image",)),
    ),
)


@hookimpl
def register_families() -> list[Family]:
    return [AUTOENCODER]
