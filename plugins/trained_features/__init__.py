"""Features of networks that are trained on a split of their own: a classifier's, and an autoencoder's."""

from __future__ import annotations

from genpipe.components import FeatureExtractor
from genpipe.hookspecs import hookimpl


@hookimpl
def register_feature_extractors() -> list[FeatureExtractor]:
    return [
        FeatureExtractor(
            name="classifier",
            summary="last hidden layer of a small classifier, trained on data.features_fraction; gives logits",
            config="genpipe.plugins.trained_features.config:ClassifierConfig",
            build="genpipe.plugins.trained_features.classifier:build",
            events=("image", "vector", "sequence"),
            trains=True,
            has_logits=True,
            dims="num_features: 64; for each channel where channels_apart is set",
            papers=("Guo et al. (2017), On Calibration of Modern Neural Networks",),
        ),
        FeatureExtractor(
            name="autoencoder",
            summary="code of a small autoencoder, trained on data.features_fraction; needs no labels",
            config="genpipe.plugins.trained_features.config:AutoencoderConfig",
            build="genpipe.plugins.trained_features.autoencoder:build",
            events=("image", "vector", "sequence"),
            trains=True,
            dims="num_features: a quarter of the data's, 32 at most, where it is not given",
        ),
    ]
