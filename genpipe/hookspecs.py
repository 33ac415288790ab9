"""The whole plugin interface. A plugin is a module with some of these functions marked `@genpipe.hookimpl`.

An implementation may take fewer arguments than the specification gives. Observers run in the driver, one by
one; one that raises is reported once and cannot stop a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from genpipe.components import Dataset, Family, FeatureExtractor, Metric, Pipeline, Stage
    from genpipe.graph import Graph
    from genpipe.runs import Run

hookspec = pluggy.HookspecMarker("genpipe")
hookimpl = pluggy.HookimplMarker("genpipe")


@hookspec
def register_families() -> Iterable[Family]:
    """Model families."""


@hookspec
def register_datasets() -> Iterable[Dataset]:
    """Data sets."""


@hookspec
def register_metrics() -> Iterable[Metric]:
    """Metrics."""


@hookspec
def register_feature_extractors() -> Iterable[FeatureExtractor]:
    """Feature extractors."""


@hookspec
def register_stages() -> Iterable[Stage]:
    """Stages."""


@hookspec
def register_pipelines() -> Iterable[Pipeline]:
    """Pipelines; a recipe names one."""


@hookspec
def register_recipes() -> Iterable[str]:
    """Folders with recipes (*.yaml) that ship with the plugin."""


@hookspec
def modify_graph(graph: Graph) -> Graph | None:
    """Changes a run's graph before its keys are computed; None leaves it."""


@hookspec
def run_started(run: Run) -> None:
    """A run has its folder and is about to execute."""


@hookspec
def step_started(run: Run, step: str, stage: str, key: str, cached: bool) -> None:
    """A step begins, or its finished artifact is reused."""


@hookspec
def step_progress(run: Run, step: str, at: int, total: int | None, metrics: Mapping[str, float], time: float) -> None:
    """A step reports: `at` of `total` units done, with named numbers; `time` in seconds since 1970."""


@hookspec
def step_notice(run: Run, step: str, text: str) -> None:
    """Something befell a step that goes on: its process died and it was started again, it waits for another run."""


@hookspec
def step_finished(run: Run, step: str, artifact: str, seconds: float, summary: Mapping[str, Any]) -> None:
    """A step's artifact (a folder) is published."""


@hookspec
def step_failed(run: Run, step: str, error: str) -> None:
    """A step ended with an error."""


@hookspec
def run_finished(run: Run, status: str, error: str | None) -> None:
    """A run ended: FINISHED, FAILED or KILLED."""
