"""Features that are the leading principal components of the training split."""

from __future__ import annotations

from genpipe.components import FeatureExtractor
from genpipe.hookspecs import hookimpl


@hookimpl
def register_feature_extractors() -> list[FeatureExtractor]:
    return [
        FeatureExtractor(
            name="pca",
            summary="the training split's leading principal components, whitened or not",
            config="genpipe.plugins.pca.config:PCAConfig",
            build="genpipe.plugins.pca.extractor:build",
            events=("image", "vector", "sequence"),
            dims="num_components, 64 at most where it is not given",
            papers=(
                "Pearson (1901), On Lines and Planes of Closest Fit to Systems of Points in Space",
                "Halko et al. (2011), Finding Structure with Randomness",
            ),
        )
    ]
