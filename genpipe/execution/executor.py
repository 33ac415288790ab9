"""What the driver asks of the thing that runs steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from genpipe.execution.job import Job, Outcome


class Executor(Protocol):
    """Runs jobs; used by one thread, between `start` and `close`."""

    def start(self, jobs: Iterable[Job]) -> None:
        """Comes up; UsageError where it could never run one of the jobs."""

    def submit(self, job: Job) -> None:
        """Takes a job whose inputs are ready."""

    def wait(self, seconds: float) -> list[Outcome]:
        """Jobs that ended, after at most about `seconds`; an executor in this process may take a whole job's time."""

    def stop(self, step: str) -> None:
        """Ends the process of a job that hangs, which is then told as died; one in this process it cannot."""

    def close(self) -> None:
        """Stops everything that still runs and leaves no process behind."""
