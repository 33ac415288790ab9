"""Steps in this process, one after the other: for a debugger, for tests, and where Ray is not installed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from genpipe.execution.job import Job, Outcome, run_job
from genpipe.execution.threads import wait_politely


class InlineExecutor:
    def __init__(self) -> None:
        self._waiting: deque[Job] = deque()
        self._threads: int | None = None

    def start(self, jobs: Iterable[Job]) -> None:
        wait_politely()
        import torch

        self._threads = torch.get_num_threads()

    def submit(self, job: Job) -> None:
        self._waiting.append(job)

    def wait(self, seconds: float) -> list[Outcome]:
        return [run_job(self._waiting.popleft(), redirect=False)] if self._waiting else []

    def close(self) -> None:
        if self._threads is None:
            return  # the import of torch may have been interrupted, and would fail again here
        import torch

        torch.set_num_threads(self._threads)
