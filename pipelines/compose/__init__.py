"""The stage `compose`: a coder and a prior over its codes, put together as one model."""

from __future__ import annotations

from genpipe.components import Stage
from genpipe.hookspecs import hookimpl


@hookimpl
def register_stages() -> list[Stage]:
    return [
        Stage(
            name="compose",
            summary="puts a trained coder and a trained prior over its codes together as one model",
            config="genpipe.pipelines.compose.config:ComposeStageConfig",
            build="genpipe.pipelines.compose.stage:run",
            takes={"coder": "model", "prior": "model"},
            gives="model",
        )
    ]
