"""Steps as Ray tasks: on a Ray that comes up for this run, or on a cluster that is there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genpipe.errors import first_line
from genpipe.execution import capacity, nodes
from genpipe.execution.connect import connect, leave, prepare
from genpipe.execution.job import DIED, FAILED, Job, Outcome, run_job
from genpipe.execution.threads import wait_politely

if TYPE_CHECKING:
    from genpipe.execution.letters import LetterBox


def _remote_job(job: Job) -> Outcome:
    if job.site.is_seen or job.site.store is None:
        return run_job(job, redirect=True)
    from genpipe.execution.letters import reaching_the_driver

    with reaching_the_driver(job.site, Path(job.log), Path(job.progress)):
        return run_job(job, redirect=True)


def _letter_box(jobs: Iterable[Job]) -> LetterBox | None:
    site = next((job.site for job in jobs), None)
    if site is None or site.store is None:
        return None  # then all nodes see the run's folder
    from genpipe.execution.letters import LetterBox

    return LetterBox(site)


class RayExecutor:
    """address: a cluster's ("auto", "host:port", "ray://…"); None starts an embedded Ray for this run."""

    def __init__(self, address: str | None = None) -> None:
        self._address = address
        self._tasks: dict[Any, Job] = {}
        self._letters: LetterBox | None = None
        self._ours = False
        self._imported = False

    def start(self, jobs: Iterable[Job]) -> None:
        wait_politely()  # an embedded Ray's workers inherit it
        prepare(self._address)
        self._imported = True
        self._ours = connect(self._address)
        capacity.check(jobs, may_grow=self._address is not None)
        if self._address is not None:
            nodes.check(jobs)
            self._letters = _letter_box(jobs)

    def submit(self, job: Job) -> None:
        import ray

        if self._letters is not None:
            job = replace(job, site=replace(job.site, letters=self._letters.actor))
        # with several workers they ask, and the task that waits for them holds nothing
        held: dict[str, Any] = job.resources.ray_options() if job.workers == 1 else {"num_cpus": 0}
        options = {"max_retries": 0, "name": job.step, **held}
        self._tasks[ray.remote(**options)(_remote_job).remote(job)] = job

    def wait(self, seconds: float) -> list[Outcome]:
        import ray

        if not self._tasks:
            return []
        ready, _ = ray.wait(list(self._tasks), num_returns=1, timeout=seconds)
        if self._letters is not None:
            self._letters.empty(wait=bool(ready))  # before its end is told, a step's log is here
        return [self._outcome(task, self._tasks.pop(task)) for task in ready]

    def _outcome(self, task: Any, job: Job) -> Outcome:
        import ray

        errors = ray.exceptions
        try:
            outcome: Outcome = ray.get(task)
            return outcome
        except errors.OutOfMemoryError as error:
            state, message = DIED, f"its worker was killed for memory: {first_line(error)}"
        except errors.TaskCancelledError:
            state, message = DIED, "it hung and was stopped"
        except errors.WorkerCrashedError:
            state, message = DIED, "its worker process died (killed, out of memory, or a crash in compiled code)"
        except (errors.NodeDiedError, errors.LocalRayletDiedError, errors.ObjectLostError):
            state, message = DIED, "the node that it ran on was lost"
        except errors.RayError as error:
            state, message = FAILED, f"{type(error).__name__}: {first_line(error)}"
        return Outcome(step=job.step, state=state, error=message, exit_code=1)

    def stop(self, step: str) -> None:
        import ray

        for task in [task for task, job in self._tasks.items() if job.step == step]:
            ray.cancel(task, force=True)

    def close(self) -> None:
        if not self._imported:
            return  # it is not installed, or its import was interrupted and would fail again here
        import ray

        if not ray.is_initialized():
            return
        for task in self._tasks:
            with contextlib.suppress(Exception):  # the cluster may be gone already, and it is being left anyway
                ray.cancel(task, force=True)
        self._tasks.clear()
        if self._letters is not None:
            self._letters.close()
        if self._ours:
            leave()
