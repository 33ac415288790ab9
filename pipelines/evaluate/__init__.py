"""The stage `evaluate`: the table of metrics for a model's samples, beside real data, copies and noise."""

from __future__ import annotations

from genpipe.components import Stage
from genpipe.hookspecs import hookimpl


@hookimpl
def register_stages() -> list[Stage]:
    return [
        Stage(
            name="evaluate",
            summary="scores a model, or samples alone, beside held-out data, copies of the training data and noise",
            config="genpipe.pipelines.evaluate.config:EvaluateConfig",
            build="genpipe.pipelines.evaluate.stage:run",
            takes={"data": "data", "features": "features", "model": "model?", "samples": "samples"},
            gives="evaluation",
            chooses="genpipe.pipelines.evaluate.chosen:candidates",
        )
    ]
