"""Features that are the examples themselves: as they are, or standardised."""

from __future__ import annotations

from genpipe.components import FeatureExtractor
from genpipe.hookspecs import hookimpl


@hookimpl
def register_feature_extractors() -> list[FeatureExtractor]:
    return [
        FeatureExtractor(
            name="identity",
            summary="the example's own numbers, flattened",
            config="genpipe.plugins.pixels.config:IdentityConfig",
            build="genpipe.plugins.pixels.identity:build",
            events=("image", "vector", "sequence"),
            dims="as many as an example has numbers",
        ),
        FeatureExtractor(
            name="standardise",
            summary="the example's numbers less the training mean, over the training standard deviation",
            config="genpipe.plugins.pixels.config:StandardiseConfig",
            build="genpipe.plugins.pixels.standardise:build",
            events=("image", "vector", "sequence"),
            dims="as many as an example has numbers",
        ),
    ]
