"""The stage `features`: feature extractors, prepared once per data set, and the features of its examples."""

from __future__ import annotations

from genpipe.components import Stage
from genpipe.hookspecs import hookimpl


@hookimpl
def register_stages() -> list[Stage]:
    return [
        Stage(
            name="features",
            summary="prepares the feature extractors that evaluations name, and computes real data's features",
            config="genpipe.pipelines.features.config:FeaturesConfig",
            build="genpipe.pipelines.features.stage:run",
            takes={"data": "data"},
            gives="features",
            chooses="genpipe.pipelines.features.default:candidates",
        )
    ]
