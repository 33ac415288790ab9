"""The stage `import_samples`: examples that some other program made, as the samples of a run."""

from __future__ import annotations

from genpipe.components import Stage
from genpipe.hookspecs import hookimpl


@hookimpl
def register_stages() -> list[Stage]:
    return [
        Stage(
            name="import_samples",
            summary="reads samples that another program made, and checks them against a data set",
            config="genpipe.pipelines.import_samples.config:ImportConfig",
            build="genpipe.pipelines.import_samples.stage:run",
            takes={"data": "data"},
            gives="samples",
        )
    ]
