"""The stage `sample`: examples drawn from a trained model, uncurated."""

from __future__ import annotations

from genpipe.components import Stage
from genpipe.hookspecs import hookimpl


@hookimpl
def register_stages() -> list[Stage]:
    return [
        Stage(
            name="sample",
            summary="draws examples from a trained model, uncurated, from a fixed seed",
            config="genpipe.pipelines.sample.config:SampleConfig",
            build="genpipe.pipelines.sample.stage:run",
            takes={"model": "model", "data": "data?"},
            gives="samples",
        )
    ]
