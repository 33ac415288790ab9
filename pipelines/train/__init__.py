"""The stage `train`: a family's model, fitted to the training split."""

from __future__ import annotations

from genpipe.components import Stage
from genpipe.hookspecs import hookimpl


@hookimpl
def register_stages() -> list[Stage]:
    return [
        Stage(
            name="train",
            summary="builds a family's model and fits it to the training split",
            config="genpipe.pipelines.train.config:TrainStageConfig",
            build="genpipe.pipelines.train.stage:run",
            takes={"data": "data"},
            gives="model",
            as_group=True,
        )
    ]
