"""The stage `data`: a data set, checked, split and written where every later step can map it."""

from __future__ import annotations

from genpipe.components import Stage
from genpipe.hookspecs import hookimpl


@hookimpl
def register_stages() -> list[Stage]:
    return [
        Stage(
            name="data",
            summary="loads a data set, checks it and splits it by hash",
            config="genpipe.pipelines.data.config:DataConfig",
            build="genpipe.pipelines.data.stage:run",
            gives="data",
        )
    ]
