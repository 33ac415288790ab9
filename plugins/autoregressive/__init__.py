"""Autoregressive networks, over pixels, tokens and real numbers, as genpipe families."""

from __future__ import annotations

from genpipe.components import Family, Member
from genpipe.hookspecs import hookimpl

PAPERS = (
    "Germain, Gregor, Murray & Larochelle (2015), MADE: Masked Autoencoder for Distribution Estimation",
    "Uria, Murray & Larochelle (2013), RNADE: The real-valued neural autoregressive density-estimator",
)

AUTOREGRESSIVE = Family(
    name="autoregressive",
    summary="PixelCNN, PixelCNN++, Transformer, LSTM or MADE: each whole number given those before it",
    config="genpipe.plugins.autoregressive.config:AutoregressiveConfig",
    build="genpipe.plugins.autoregressive.model:build",
    likelihood="exact",
    events=("image", "sequence"),
    training="gradient",
    capabilities=frozenset({"sample", "path", "log_prob"}),
    discrete=True,
    conditional=True,
    members=(
        Member(
            "gated_pixelcnn",
            "masked convolutions in two stacks, logits of every level: the default for images",
            {"network": "gated_pixelcnn"},
            events=("image",),
        ),
        Member(
            "pixelcnn_pp",
            "shifted convolutions at several resolutions, logistic mixtures that know which levels are near",
            {"network": "pixelcnn_pp"},
            events=("image",),
        ),
        Member(
            "transformer",
            "causal attention over pixels or tokens, keys and values kept: the default for sequences",
            {"network": "transformer", "num_layers": 4},
        ),
        Member("recurrent", "LSTMs over sub-pixels or tokens", {"network": "recurrent", "num_layers": 2}),
        Member(
            "made",
            "a masked fully connected network over rows of numbers, in one order or the mean over several",
            {"network": "made", "flatten": True, "num_layers": 1},
        ),
    ),
    sampling_cost="one pass in all, number by number",
    papers=(
        "van den Oord et al. (2016), Conditional Image Generation with PixelCNN Decoders",
        "Salimans et al. (2017), PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood "
        "and Other Modifications",
        "van den Oord, Kalchbrenner & Kavukcuoglu (2016), Pixel Recurrent Neural Networks",
        "Vaswani et al. (2017), Attention Is All You Need",
        "Parmar et al. (2018), Image Transformer",
        PAPERS[0],
    ),
)

MADE_DENSITY = Family(
    name="made",
    summary="MADE over real vectors: a mixture of Gaussians for each number given those before it",
    config="genpipe.plugins.autoregressive.config:MADEConfig",
    build="genpipe.plugins.autoregressive.density:build",
    likelihood="exact",
    events=("vector",),
    training="gradient",
    capabilities=frozenset({"sample", "log_prob", "score"}),
    conditional=True,
    members=(
        Member(
            "gaussian", "one Gaussian for each number: Gaussian conditionals whose mean may bend", {"num_mixtures": 1}
        ),
        Member("orders", "the mean density over several orders of the numbers", {"num_orders": 4}),
    ),
    sampling_cost="one pass in all, number by number",
    papers=PAPERS,
)


@hookimpl
def register_families() -> list[Family]:
    return [AUTOREGRESSIVE, MADE_DENSITY]
