"""Features of a network that the user names: a TorchScript file, or a function in a module that can be imported."""

from __future__ import annotations

from genpipe.components import FeatureExtractor
from genpipe.hookspecs import hookimpl

HERE = "genpipe.plugins.own_network"


@hookimpl
def register_feature_extractors() -> list[FeatureExtractor]:
    return [
        FeatureExtractor(
            name="torchscript",
            summary="what a TorchScript file of yours gives; known by its digest",
            config=f"{HERE}.config:TorchScriptConfig",
            build=f"{HERE}.torchscript:build",
            fingerprint=f"{HERE}.torchscript:fingerprint",
            events=("image", "vector", "sequence"),
            dims="the network's",
        ),
        FeatureExtractor(
            name="torchscript_classifier",
            summary="what a TorchScript file of yours gives, and its logits",
            config=f"{HERE}.config:TorchScriptClassifierConfig",
            build=f"{HERE}.torchscript:build_classifier",
            fingerprint=f"{HERE}.torchscript:fingerprint",
            events=("image", "vector", "sequence"),
            has_logits=True,
            dims="the network's",
        ),
        FeatureExtractor(
            name="module",
            summary="what a network gives that your function makes, named package.module:function",
            config=f"{HERE}.config:ModuleConfig",
            build=f"{HERE}.module:build",
            fingerprint=f"{HERE}.module:fingerprint",
            events=("image", "vector", "sequence"),
            dims="the network's",
        ),
        FeatureExtractor(
            name="module_classifier",
            summary="what a network gives that your function makes, and its logits",
            config=f"{HERE}.config:ModuleClassifierConfig",
            build=f"{HERE}.module:build_classifier",
            fingerprint=f"{HERE}.module:fingerprint",
            events=("image", "vector", "sequence"),
            has_logits=True,
            dims="the network's",
        ),
    ]
