"""The stage `evaluate`: the table of metrics for the model, beside real data, copies and noise."""

from __future__ import annotations

from genpipe.components import Stage
from genpipe.hookspecs import hookimpl


@hookimpl
def register_stages() -> list[Stage]:
    return [
        Stage(
            name="evaluate",
            summary="scores a model beside held-out data, copies of the training data and noise",
            config="genpipe.pipelines.evaluate.config:EvaluateConfig",
            build="genpipe.pipelines.evaluate.stage:run",
            takes={"data": "data", "model": "model", "samples": "samples"},
            gives="evaluation",
        )
    ]
