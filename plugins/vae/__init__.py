"""Variational autoencoders (Kingma & Welling, 2014) as genpipe families: one of densities, one of levels."""

from __future__ import annotations

from genpipe.components import Family, Member
from genpipe.hookspecs import hookimpl

PAPERS = (
    "Kingma & Welling (2014), Auto-Encoding Variational Bayes",
    "Sohn, Lee & Yan (2015), Learning Structured Output Representation using Deep Conditional Generative Models",
    "Burda, Grosse & Salakhutdinov (2016), Importance Weighted Autoencoders",
    "He, Zhang, Ren & Sun (2016b), Identity Mappings in Deep Residual Networks",
    "Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow",
    "Bowman et al. (2016), Generating Sentences from a Continuous Space",
    "Higgins et al. (2017), beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework",
    "Wu, Burda, Salakhutdinov & Grosse (2017), On the Quantitative Analysis of Decoder-Based Generative Models",
    "Tucker, Lawson, Gu & Maddison (2019), Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives",
)

OBJECTIVES = (
    Member("iwae", "the importance-weighted bound of eight codes", {"objective": "iwae", "num_codes": 8}),
    Member("dreg", "the same, with doubly reparameterised gradients", {"objective": "dreg", "num_codes": 8}),
    Member("free_bits", "0.1 nats of a number of a code for free, against collapse", {"free_nats": 0.1}, ("image",)),
    Member("warm_up", "the KL term rises from nothing over 1,000 steps, against collapse", {"kl_warmup_steps": 1000}),
)

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
    conditional=True,
    samplers={"draw": {}, "mean": {}},
    sampling_cost="one pass of the decoder",
    estimators={"iwae": {"num_samples": 64}, "ais": {"num_samples": 16, "num_steps": 1000}},
    papers=(
        *PAPERS,
        "Rybkin, Daniilidis & Levine (2021), Simple and Effective VAE Training with Calibrated Sigma VAEs",
    ),
    members=(
        Member("resnet", "residual blocks at each resolution", {"network": "resnet"}, events=("image",)),
        Member("mlp", "fully connected layers on flattened images", {"network": "mlp"}, events=("image",)),
        Member("beta", "four times the weight on the KL term, for codes whose numbers part", {"beta": 4.0}),
        *OBJECTIVES,
    ),
)

DISCRETE_VAE = Family(
    name="discrete_vae",
    summary="variational autoencoder of the levels themselves: logistic mixtures, Bernoullis or categoricals",
    config="genpipe.plugins.vae.config:DiscreteVAEConfig",
    build="genpipe.plugins.vae.model:build_discrete",
    likelihood="lower_bound",
    events=("image",),
    training="gradient",
    capabilities=frozenset({"sample", "log_prob", "encode", "decode", "posterior"}),
    codes="vector",
    conditional=True,
    discrete=True,
    samplers={"draw": {}, "mean": {}},
    sampling_cost="one pass of the decoder",
    estimators={"iwae": {"num_samples": 64}, "ais": {"num_samples": 16, "num_steps": 1000}},
    papers=(
        *PAPERS,
        "Salimans, Karpathy, Chen & Kingma (2017), PixelCNN++: Improving the PixelCNN with Discretized Logistic "
        "Mixture Likelihood",
    ),
    members=(
        Member("resnet", "residual blocks at each resolution", {"network": "resnet"}),
        Member("bernoulli", "coin tosses of each pixel: black and white, or binomial levels", {"decoder": "bernoulli"}),
        Member("categorical", "a probability of its own for every level", {"decoder": "categorical"}),
    ),
)


@hookimpl
def register_families() -> list[Family]:
    return [VAE, DISCRETE_VAE]
