"""The Python interface: the same paths as the command line's."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genpipe.dead_runs import close_dead_runs
from genpipe.errors import UsageError
from genpipe.observers import Observers
from genpipe.plan import Choice, Plan, make_plan
from genpipe.recipe import Recipe, load_recipe
from genpipe.redact import has_password, redacted
from genpipe.registry import Registry, registry
from genpipe.runs import Run, find_run
from genpipe.workspace import Workspace

if TYPE_CHECKING:
    from genpipe.execution.executor import Executor
    from genpipe.model import Model

EXECUTORS = ("ray", "inline")
TRACKING_OFF = "off"


def run(
    recipe: str | Path | Mapping[str, Any],
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    workspace: str | Path | None = None,
    store: str | None = None,
    executor: str = "ray",
    address: str | None = None,
    tracking: str | None = None,
    fresh: bool = False,
    from_step: str | None = None,
    to_step: str | None = None,
    step_timeout: float | None = None,
    progress: bool = True,
) -> Run:
    """Runs a recipe and gives the finished run; steps that were done before are reused.

    recipe: a shipped recipe's name, a YAML file or a mapping. overrides: `{"train.steps": 500}` or
    `["train.steps=500"]`. workspace: folder for everything (GENPIPE_HOME, else `.genpipe`). store: an fsspec address
    that keeps artifacts and checkpoints too (GENPIPE_STORE, else none). executor: "ray" or "inline"; address: a Ray
    cluster's. tracking: an MLflow URI (MLFLOW_TRACKING_URI, else sqlite in the
    workspace), or "off". fresh, from_step, to_step: redo all; redo a step and what follows; stop after a step.
    step_timeout: seconds without a sign of life after which a step's process is ended, and the step started again.

    Raises RecipeError with all of a recipe's mistakes before anything runs, StepFailed where a step fails.
    """
    plugins = registry()
    checked = load_recipe(recipe, overrides, registry=plugins)
    choice = Choice(fresh=fresh, from_step=from_step, to_step=to_step)
    return run_recipe(
        checked,
        Workspace.choose(workspace, store),
        choice,
        plugins=plugins,
        executor=executor,
        address=address,
        tracking=tracking,
        step_timeout=step_timeout,
        progress=progress,
    )


def evaluate(
    *,
    samples: Any,
    reference: str | Path | Mapping[str, Any],
    overrides: Sequence[str] | Mapping[str, Any] = (),
    workspace: str | Path | None = None,
    store: str | None = None,
    executor: str = "ray",
    address: str | None = None,
    tracking: str | None = None,
    to_step: str | None = None,
    progress: bool = True,
) -> Run:
    """Scores samples that another program made against real data, and gives the finished run; `run.table` is its table.

    samples: an array or tensor (N, *event), or the path of a file or folder of images, `.npz`, `.npy`, CSV or Parquet;
    an array is kept in the workspace. reference: a data set's name, or a mapping with its options; a path to real
    examples; or a run (its id, its recipe's name or "last"), whose data and splits are taken. overrides: of the keys
    of the pipeline `external`, such as `{"samples.range": [0, 1], "evaluate.metrics": ["prdc"]}`, with `reference.K`
    for options of the data set. The others are those of `run`.

    Raises UsageError where samples or reference are not found, RecipeError with all mistakes in the overrides, and
    StepFailed with all that keeps the samples from being compared.
    """
    from genpipe.external import external_recipe, kept_array

    plugins, space = registry(), Workspace.choose(workspace, store)
    place = samples if isinstance(samples, str | Path) else kept_array(samples, space)
    recipe = external_recipe(place, reference, overrides, registry=plugins, workspace=space)
    return run_recipe(
        recipe,
        space,
        Choice(to_step=to_step),
        plugins=plugins,
        executor=executor,
        address=address,
        tracking=tracking,
        progress=progress,
    )


def run_recipe(
    recipe: Recipe,
    workspace: Workspace,
    choice: Choice,
    *,
    plugins: Registry,
    executor: str = "ray",
    address: str | None = None,
    tracking: str | None = None,
    step_timeout: float | None = None,
    progress: bool = True,
) -> Run:
    """`run`, for a recipe that is checked already."""
    make_executor = executor_maker(executor, address)
    if workspace.store is not None and workspace.store.is_of_this_process and executor != "inline":
        raise UsageError(
            f"the store {workspace.store.address} is this process's own: only --executor inline can use it"
        )
    plan = make_plan(recipe, plugins, workspace, choice, check_files=True)
    for damage in plan.damaged:
        logging.getLogger("genpipe").warning(damage)
    if workspace.store is not None:
        from genpipe.execution.sharing import prepare

        if not prepare(plan, workspace):
            plan = make_plan(recipe, plugins, workspace, choice, check_files=True)
    with _listeners(plan, workspace, tracking, progress) as listeners:
        from genpipe.execution.driver import execute

        return execute(plan, Observers(plugins, listeners), workspace, make_executor, step_timeout)


def executor_maker(name: str, address: str | None) -> Callable[[], Executor]:
    """What makes the executor, imported only if a step has to run."""
    if name not in EXECUTORS:
        raise UsageError(f"there is no executor '{name}'; there is {' and '.join(EXECUTORS)}")
    if name == "inline":
        if address:
            raise UsageError("an address is for the executor 'ray', not for 'inline'")

        def inline() -> Executor:
            from genpipe.execution.inline import InlineExecutor

            return InlineExecutor()

        return inline

    def on_ray() -> Executor:
        cluster = address or os.environ.get("RAY_ADDRESS")
        if "ray" in sys.modules and sys.modules["ray"].is_initialized():
            from genpipe.execution.cluster import RayExecutor

            return RayExecutor(cluster)  # the caller is on a Ray of its own, whose fate it shares
        from genpipe.execution.isolated import IsolatedRay

        return IsolatedRay(cluster)

    return on_ray


def tracking_uri(given: str | None, workspace: Workspace) -> str | None:
    """Where runs are tracked; None where tracking is off."""
    uri = given or os.environ.get("MLFLOW_TRACKING_URI") or workspace.tracking_uri
    if has_password(uri):
        raise UsageError(
            f"the tracking address {redacted(uri)} holds a password, which would be written down: leave it out and set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (for a database its own, such as PGPASSWORD)"
        )
    return None if uri == TRACKING_OFF else uri


@contextmanager
def _listeners(plan: Plan, workspace: Workspace, tracking: str | None, progress: bool) -> Iterator[list[Any]]:
    """The display, the journal and the tracker, for the time of a run."""
    uri = tracking_uri(tracking, workspace)
    listeners: list[Any] = []
    close_dead_runs(workspace)
    tracker: Any = nullcontext()
    display: Any = None
    if progress:
        from genpipe.display import make_display

        display = make_display()
        listeners.append(display)
    if uri is not None:
        from genpipe.tracking.facts import collect
        from genpipe.tracking.groups import memberships
        from genpipe.tracking.journal import Journal

        listeners.append(Journal(collect(), {name: each.to_dict() for name, each in memberships(plan).items()}))
        from genpipe.tracking.tracker import Tracker, warm

        tracker = Tracker(uri, workspace)
        listeners.append(tracker)
        # a run of reused steps alone is over before MLflow is imported: the next run sends its journal
        tracker = warm(tracker if plan.to_run else None)
    try:
        with tracker:
            yield listeners
    finally:
        if display is not None:
            display.close()


def load(
    reference: Run | str | Path, *, step: str | None = None, workspace: str | Path | None = None, device: str = "cpu"
) -> Model:
    """The trained model of a run, ready to sample and score.

    reference: a Run, a run's id (or its recipe's name, or "last"; "ID:STEP" where a run has several models), or
    the folder of a run or of a model artifact.
    """
    from genpipe.persistence import load_model

    return load_model(model_folder(reference, step=step, workspace=workspace), registry(), device=device)


def model_folder(reference: Run | str | Path, *, step: str | None = None, workspace: str | Path | None = None) -> Path:
    """The verified artifact with the model that `load` reads."""
    from genpipe.artifacts import verify

    if isinstance(reference, str | Path) and os.path.isfile(Path(reference) / "model.json"):
        folder = Path(reference)
    else:
        if isinstance(reference, str) and step is None and ":" in reference:
            reference, _, step = reference.rpartition(":")
        chosen = reference if isinstance(reference, Run) else find_run(Workspace.choose(workspace), str(reference))
        folder = chosen.artifact(step) if step else chosen.one("model")
    verify(folder)
    return folder
