"""Steps in this process, one after the other: for a debugger, for tests, and where Ray is not installed."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable

from genpipe.errors import UsageError
from genpipe.execution.job import Job, Outcome, run_job
from genpipe.execution.session import Session
from genpipe.execution.threads import wait_politely
from genpipe.execution.watch import VARIABLE


class InlineExecutor:
    def __init__(self) -> None:
        self._waiting: deque[Job] = deque()
        self._threads: int | None = None
        self._session: Session | None = None

    def start(self, jobs: Iterable[Job]) -> None:
        jobs = list(jobs)
        for job in jobs:
            if job.workers > 1 and job.as_group:
                raise UsageError(
                    f"step '{job.step}' asks for a group of {job.workers} workers, which needs Ray: leave out "
                    f"`--executor inline`, or set {job.step}.workers=1, which gives the same to rounding"
                )
        wait_politely()
        self._session = Session()
        os.environ[VARIABLE] = self._session.token  # for what steps start
        import torch

        self._threads = torch.get_num_threads()
        on_gpus = [job.step for job in jobs if job.resources.gpus]
        if on_gpus and not torch.cuda.is_available():
            keys = ", ".join(dict.fromkeys(f"resources.{step.partition('.')[0]}.gpus=0" for step in on_gpus))
            raise UsageError(
                f"step '{on_gpus[0]}' asks for a GPU, and torch {torch.__version__} finds none here: run it where there is "
                f"one, or on CPUs by {keys}"
            )

    def submit(self, job: Job) -> None:
        self._waiting.append(job)

    def wait(self, seconds: float) -> list[Outcome]:
        return [run_job(self._waiting.popleft(), redirect=False)] if self._waiting else []

    def stop(self, step: str) -> None:
        raise AssertionError("no step is at work here while others are looked at")

    def close(self) -> None:
        if self._session is not None:
            if os.environ.get(VARIABLE) == self._session.token:
                del os.environ[VARIABLE]
            self._session.leave()
        if self._threads is None:
            return  # the import of torch may have been interrupted, and would fail again here
        import torch

        torch.set_num_threads(self._threads)
