"""Features of a convolutional network whose weights are random numbers, the same on every machine."""

from __future__ import annotations

from genpipe.components import FeatureExtractor
from genpipe.hookspecs import hookimpl


@hookimpl
def register_feature_extractors() -> list[FeatureExtractor]:
    return [
        FeatureExtractor(
            name="random_conv",
            summary="mean and deviation of each channel of a seeded random convolutional network; nothing is trained",
            config="genpipe.plugins.random_conv.config:RandomConvConfig",
            build="genpipe.plugins.random_conv.extractor:build",
            events=("image", "sequence"),
            dims="twice the sum of channels: 160",
            papers=("Naeem et al. (2020), Reliable Fidelity and Diversity Metrics for Generative Models",),
        )
    ]
