"""The stage `report`: one self-contained HTML page of a run."""

from __future__ import annotations

from genpipe.components import Stage
from genpipe.hookspecs import hookimpl


@hookimpl
def register_stages() -> list[Stage]:
    return [
        Stage(
            name="report",
            summary="one HTML page with the numbers, pictures, settings and timings of a run",
            config="genpipe.pipelines.report.config:ReportConfig",
            build="genpipe.pipelines.report.stage:run",
            takes={
                "data": "data",
                "features": "features",
                "model": "model?",
                "samples": "samples",
                "evaluation": "evaluation",
            },
            gives="report",
        )
    ]
