"""The pipeline `compare`, several models on one data set as one graph, and its stage, which makes the one table."""

from __future__ import annotations

from genpipe.components import Pipeline, Stage
from genpipe.hookspecs import hookimpl


@hookimpl
def register_stages() -> list[Stage]:
    return [
        Stage(
            name="compare",
            summary="one table of several models over seeds, beside real data, copies and noise, with trade-off pictures",
            config="genpipe.pipelines.compare.config:CompareStageConfig",
            build="genpipe.pipelines.compare.stage:run",
            takes={"data": "data", "evaluation.*": "evaluation?", "samples.*": "samples?", "model.*": "model?"},
            gives="comparison",
        )
    ]


@hookimpl
def register_pipelines() -> list[Pipeline]:
    return [
        Pipeline(
            name="compare",
            summary="data → (train → sample → evaluate) of each model and seed → one table and the trade-offs",
            config="genpipe.pipelines.compare.config:CompareConfig",
            build="genpipe.pipelines.compare.graph:build",
            check="genpipe.pipelines.compare.check:check",
        )
    ]
