"""The pipeline `single`: one data set, one model, from data to report; and the recipes that use it."""

from __future__ import annotations

from pathlib import Path

from genpipe.components import Pipeline
from genpipe.hookspecs import hookimpl


@hookimpl
def register_pipelines() -> list[Pipeline]:
    return [
        Pipeline(
            name="single",
            summary="data → train → sample → evaluate → report, for one model on one data set",
            config="genpipe.pipelines.single.config:SingleConfig",
            build="genpipe.pipelines.single.graph:build",
            check="genpipe.pipelines.single.check:check",
        )
    ]


@hookimpl
def register_recipes() -> list[str]:
    return [str(Path(__file__).resolve().parent.parent / "recipes")]
