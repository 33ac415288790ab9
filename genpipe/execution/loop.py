"""The driver's loop: steps go to the executor as their inputs become ready, and again where their process died."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from genpipe.artifacts import clear_staging
from genpipe.execution.attempts import Attempts
from genpipe.execution.executor import Executor
from genpipe.execution.follow import ProgressFollower
from genpipe.execution.job import BUSY, DIED, DONE, Job, Outcome
from genpipe.execution.pulse import STALL_SECONDS, Stalls
from genpipe.execution.remains import after_change, without_missing
from genpipe.execution.sharing import bring_to_look_at
from genpipe.execution.turns import is_taken
from genpipe.observers import Observers
from genpipe.plan import Plan, PlannedStep
from genpipe.runs import FAILED, FINISHED, RUNNING, Run
from genpipe.workspace import Workspace

logger = logging.getLogger("genpipe")

WAIT_SECONDS = 0.2
TURN_SECONDS = 1.0


class Loop:
    """Takes the steps of a plan that have to run through an executor that is up.

    A step that another process is making waits here, where it holds no CPUs. make_job: the job of a step, given all
    that are planned. failures: outcomes of steps that failed.
    step_timeout_seconds: how long a step may show no sign of life before its process is ended; None only says so.
    """

    def __init__(
        self,
        plan: Plan,
        make_job: Callable[[PlannedStep, Mapping[str, PlannedStep]], Job],
        run: Run,
        workspace: Workspace,
        executor: Executor,
        follower: ProgressFollower,
        observers: Observers,
        step_timeout_seconds: float | None = None,
    ) -> None:
        self._planned, self._make_job = dict(plan.steps), make_job
        self._run, self._workspace = run, workspace
        self._executor, self._follower, self._observers = executor, follower, observers
        self._waiting = {planned.step.id: make_job(planned, plan.steps) for planned in plan.to_run}
        self._running: dict[str, Job] = {}
        self._elsewhere: dict[str, Job] = {}  # another process is making the same
        self._attempts = {name: _attempts(job) for name, job in self._waiting.items()}
        self._done = {name for name, planned in plan.steps.items() if planned.hit}
        self._looked = 0.0
        self._stalls, self._stop_stalled = (
            Stalls(step_timeout_seconds or STALL_SECONDS),
            step_timeout_seconds is not None,
        )
        self.failures: list[Outcome] = []

    def run(self) -> None:
        """Ends once every step is done, failed, or waits for one that failed and that it cannot do without."""
        while self._waiting or self._running or self._elsewhere:
            self._begin_what_is_ready()
            self._look_elsewhere()
            if self._running:
                for outcome in self._executor.wait(WAIT_SECONDS):
                    self._take(outcome, self._running.pop(outcome.step))
                self._look_for_stalls()
            elif self._elsewhere:
                time.sleep(WAIT_SECONDS)
            elif not self._begin_without_missing():
                return

    def _begin_what_is_ready(self) -> None:
        ready = [name for name in self._waiting if set(self._planned[name].step.inputs.values()) <= self._done]
        for name in ready:
            self._begin(name)
        if ready:
            self._run.save()

    def _begin(self, name: str) -> None:
        job = self._waiting.pop(name)
        self._run.steps[name].status = RUNNING
        self._observers.notify("step_started", run=self._run, step=name, stage=job.stage, key=job.key, cached=False)
        if is_taken(Path(job.scratch)):
            self._wait_for_turn(job)
        else:
            self._submit(job)

    def _begin_without_missing(self) -> bool:
        """Begins the first step that is something without those that failed; whether there was one."""
        for name in list(self._waiting):
            planned = self._planned[name]
            remaining = without_missing(planned, self._done)
            if remaining is not None:
                self._change(remaining)
                job = self._waiting[name]
                self._begin(name)
                missing = sorted({source for source in planned.step.inputs.values() if source not in self._done})
                self._tell(job, f"goes on without {', '.join(missing)}")
                self._run.save()
                return True
        return False

    def _change(self, planned: PlannedStep) -> None:
        """A step's key is another than was planned, and so are those of the steps that take from it."""
        name = planned.step.id
        self._planned[name] = planned
        job = self._waiting[name] = self._make_job(planned, self._planned)
        self._attempts[name] = _attempts(job)
        record = self._run.steps[name]
        record.key, record.artifact = planned.key, str(Path(job.artifact).relative_to(self._workspace.root))
        for other in list(self._waiting):
            sources = self._planned[other].step.inputs.values()
            if name in sources:
                self._change(
                    after_change(self._planned[other], {source: self._planned[source].key for source in sources})
                )

    def _submit(self, job: Job) -> None:
        self._running[job.step] = job
        self._follower.add(job.step)
        self._stalls.watch(Path(job.progress))
        self._executor.submit(job)

    def _wait_for_turn(self, job: Job) -> None:
        self._elsewhere[job.step] = job
        self._tell(job, "the same is being made elsewhere; waiting for it")

    def _look_elsewhere(self) -> None:
        if self._elsewhere and time.monotonic() - self._looked >= TURN_SECONDS:
            self._looked = time.monotonic()
            for name in [name for name, job in self._elsewhere.items() if not is_taken(Path(job.scratch))]:
                self._submit(self._elsewhere.pop(name))

    def _take(self, outcome: Outcome, job: Job) -> None:
        self._follower.remove(job.step)
        self._stalls.forget(Path(job.progress))
        for warning in outcome.warnings:
            logger.warning("step '%s': %s", outcome.step, warning)
        if outcome.state == BUSY:
            self._wait_for_turn(job)
        elif outcome.state == DIED:
            self._take_death(outcome, job)
        elif outcome.state == DONE:
            self._finish(outcome)
        else:
            self._fail(outcome)

    def _take_death(self, outcome: Outcome, job: Job) -> None:
        attempts = self._attempts[job.step]
        if attempts.died():
            clear_staging(Path(job.artifact).parent)
            self._tell(job, f"{outcome.error}; started again{' from what it kept' if attempts.has_kept else ''}")
            self._submit(replace(job, attempt=attempts.deaths))
        else:
            times = f"{attempts.in_a_row} times in a row without getting further"
            self._fail(replace(outcome, error=f"{outcome.error}, {times}"))

    def _look_for_stalls(self) -> None:
        stalled = self._stalls.found()
        for job in [job for job in self._running.values() if Path(job.progress) in stalled]:
            text = f"no sign of life for {job.stall_seconds:g} s; the stacks of its threads are in {job.log}"
            self._tell(job, f"{text}; it is stopped" if self._stop_stalled else text)
            if self._stop_stalled:
                self._executor.stop(job.step)

    def _tell(self, job: Job, text: str) -> None:
        """In the display and in the step's log: what happened to a step that goes on."""
        with contextlib.suppress(OSError), open(job.log, "a") as log:
            log.write(f"{text}\n")
        self._observers.notify("step_notice", run=self._run, step=job.step, text=text)

    def _finish(self, outcome: Outcome) -> None:
        bring_to_look_at(self._planned[outcome.step], self._workspace)
        record = self._run.steps[outcome.step]
        record.seconds, record.status = outcome.seconds, FINISHED
        self._done.add(outcome.step)
        self._observers.notify(
            "step_finished",
            run=self._run,
            step=outcome.step,
            artifact=str(self._run.workspace / record.artifact),
            seconds=outcome.seconds,
            summary=outcome.summary,
        )
        self._run.save()

    def _fail(self, outcome: Outcome) -> None:
        record = self._run.steps[outcome.step]
        record.seconds, record.status = outcome.seconds, FAILED
        self.failures.append(outcome)
        self._observers.notify("step_failed", run=self._run, step=outcome.step, error=outcome.error)
        self._run.save()


def _attempts(job: Job) -> Attempts:
    return Attempts(Path(job.scratch), job.site.stored(job.scratch))
