"""The driver: takes a plan through an executor, keeps the run's record, and tells observers."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from genpipe.artifacts import clear_staging
from genpipe.errors import GenpipeError, Interrupted, StepFailed
from genpipe.execution.executor import Executor
from genpipe.execution.follow import ProgressFollower
from genpipe.execution.job import Job
from genpipe.execution.loop import Loop
from genpipe.execution.pulse import STALL_SECONDS
from genpipe.heartbeat import beating
from genpipe.observers import Observers
from genpipe.parallel import WorkerResources
from genpipe.plan import Plan, PlannedStep
from genpipe.runs import FAILED, FINISHED, KILLED, RUNNING, Run, StepRecord
from genpipe.stores import Site
from genpipe.workspace import Workspace

logger = logging.getLogger("genpipe")

TAIL_LINES = 20


def execute(
    plan: Plan,
    observers: Observers,
    workspace: Workspace,
    make_executor: Callable[[], Executor],
    step_timeout_seconds: float | None = None,
) -> Run:
    """Runs what the plan says and gives the finished run.

    Raises StepFailed, with the run, where a step fails (steps that do not depend on it, or can do without, are finished
    first), Interrupted on SIGINT or SIGTERM. In each case the run's record says so and finished artifacts stay.
    """
    steps = {
        name: StepRecord(p.stage.name, p.key, str(workspace.artifact(p.kind, p.key).relative_to(workspace.root)))
        for name, p in plan.steps.items()
    }
    run = Run.create(workspace, plan.recipe.name, plan.recipe.resolved, steps)
    with beating(run.folder), _signals_raise() as received:
        try:
            observers.notify("run_started", run=run)
            _take(plan, run, workspace, make_executor, observers, step_timeout_seconds)
            _finish(run, observers, FINISHED, None)
        except KeyboardInterrupt as error:
            # Ray's waits turn any interruption into a plain KeyboardInterrupt: the signal is told by the handler
            number = error.signal_number if isinstance(error, Interrupted) else signal.SIGINT
            interrupted = Interrupted(received[0] if received else number)
            _finish(run, observers, KILLED, str(interrupted))
            raise interrupted from None
        except GenpipeError as error:
            _finish(run, observers, FAILED, str(error))
            raise
        except BaseException as error:
            _finish(run, observers, FAILED, f"{type(error).__name__}: {error}")
            raise
    return run


def _finish(run: Run, observers: Observers, status: str, error: str | None) -> None:
    run.status, run.ended, run.error = status, time.time(), error
    for record in run.steps.values():
        if record.status == RUNNING:
            record.status = KILLED if status == KILLED else FAILED
    try:
        run.save()
    except GenpipeError as unwritten:  # a full disk: the next command finds the run without a driver, and closes it
        logger.warning("the record of run %s could not be written: %s", run.id, unwritten)
    observers.notify("run_finished", run=run, status=status, error=error)


def _take(
    plan: Plan,
    run: Run,
    workspace: Workspace,
    make_executor: Callable[[], Executor],
    observers: Observers,
    step_timeout_seconds: float | None,
) -> None:
    for name, planned in plan.steps.items():
        if planned.hit:
            _reuse(name, planned, run, observers)
    run.save()
    if not plan.to_run:
        return
    stall_seconds = step_timeout_seconds or STALL_SECONDS
    make_job = partial(_job, run=run, workspace=workspace, stall_seconds=stall_seconds)
    jobs = [make_job(planned, plan.steps) for planned in plan.to_run]
    for job in jobs:
        clear_staging(Path(job.artifact).parent)
    follower = ProgressFollower(run, observers)
    executor = make_executor()
    loop = Loop(plan, make_job, run, workspace, executor, follower, observers, step_timeout_seconds)
    try:
        executor.start(jobs)
        follower.start()
        loop.run()
    finally:
        executor.close()
        if follower.started:
            follower.stop()
    if loop.failures:
        first = loop.failures[0]
        error = StepFailed(
            first.step,
            str(first.error),
            log=str(run.log(first.step)),
            tail=_tail(run.log(first.step), str(first.error)),
        )
        error.exit_code, error.run = first.exit_code, run
        raise error


def _reuse(name: str, planned: PlannedStep, run: Run, observers: Observers) -> None:
    record = run.steps[name]
    record.status = "CACHED"
    observers.notify("step_started", run=run, step=name, stage=planned.stage.name, key=planned.key, cached=True)
    folder, manifest = run.workspace / record.artifact, planned.found
    assert manifest is not None
    record.seconds = manifest.seconds
    observers.notify(
        "step_finished", run=run, step=name, artifact=str(folder), seconds=manifest.seconds, summary=manifest.summary
    )


def _job(
    planned: PlannedStep, steps: Mapping[str, PlannedStep], *, run: Run, workspace: Workspace, stall_seconds: float
) -> Job:
    """The job of a step. steps: all that are planned, as they are now."""
    step = planned.step
    return Job(
        step=step.id,
        stage=step.stage,
        kind=planned.kind,
        key=planned.key,
        key_parts=dict(planned.parts),
        config=step.config.model_dump(mode="json"),
        seed=step.seed,
        inputs={
            port: str(workspace.artifact(steps[source].kind, steps[source].key)) for port, source in step.inputs.items()
        },
        artifact=str(workspace.artifact(planned.kind, planned.key)),
        scratch=str(workspace.scratch(planned.key)),
        log=str(run.log(step.id)),
        progress=str(run.progress(step.id)),
        resources=WorkerResources(**step.resources.model_dump()) if step.resources else WorkerResources(),
        workers=step.workers,
        as_group=planned.stage.as_group,
        min_workers=step.min_workers,
        redo=planned.redo,
        stall_seconds=stall_seconds,
        site=Site(str(workspace.root), str(run.folder), workspace.store),
    )


def _tail(path: Path, error: str) -> list[str]:
    """The last lines of a log, but for the error that is told anyway."""
    lines = path.read_text(errors="replace").removesuffix(f"error: {error}\n").splitlines() if path.exists() else []
    return lines[-TAIL_LINES:]


@contextlib.contextmanager
def _signals_raise() -> Iterator[list[int]]:
    """SIGINT and SIGTERM raise Interrupted in the main thread, once; while the run is wound up, more are ignored.

    Gives a list that holds the signal once it came.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def stop(number: int, frame: Any) -> None:
        received.append(number)
        for each in kept:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    kept = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
