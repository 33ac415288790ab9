"""Autoregressive networks over images, PixelCNNs, as a genpipe family."""

from __future__ import annotations

from genpipe.components import Family
from genpipe.hookspecs import hookimpl

AUTOREGRESSIVE = Family(
    name="autoregressive",
    summary="gated PixelCNN or PixelCNN++: each pixel given those before it, of images of whole numbers",
    config="genpipe.plugins.autoregressive.config:AutoregressiveConfig",
    build="genpipe.plugins.autoregressive.model:build",
    likelihood="exact",
    events=("image",),
    training="gradient",
    capabilities=frozenset({"sample", "path", "log_prob"}),
    discrete=True,
    sampling_cost="one visit of every pixel, together one pass of the network",
    papers=(
        "van den Oord et al. (2016), Conditional Image Generation with PixelCNN Decoders",
        "Salimans et al. (2017), PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood "
        "and Other Modifications",
    ),
)


@hookimpl
def register_families() -> list[Family]:
    return [AUTOREGRESSIVE]
