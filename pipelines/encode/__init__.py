"""The stage `encode`: a data set's codes under a trained model, as a data set of their own."""

from __future__ import annotations

from genpipe.components import Stage
from genpipe.hookspecs import hookimpl


@hookimpl
def register_stages() -> list[Stage]:
    return [
        Stage(
            name="encode",
            summary="a trained model's codes of every split, as data that another family can model",
            config="genpipe.pipelines.encode.config:EncodeConfig",
            build="genpipe.pipelines.encode.stage:run",
            takes={"model": "model", "data": "data"},
            gives="data",
        )
    ]
