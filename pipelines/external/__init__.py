"""The pipeline `external`: samples that another program made, held against a data set."""

from __future__ import annotations

from genpipe.components import Pipeline
from genpipe.hookspecs import hookimpl


@hookimpl
def register_pipelines() -> list[Pipeline]:
    return [
        Pipeline(
            name="external",
            summary="data → samples → evaluate → report, for samples that another program made",
            config="genpipe.pipelines.external.config:ExternalConfig",
            build="genpipe.pipelines.external.graph:build",
            check="genpipe.pipelines.external.check:check",
        )
    ]
