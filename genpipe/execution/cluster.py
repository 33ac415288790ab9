"""Steps as Ray tasks: on a Ray that comes up for this run, or on a cluster that is there."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from genpipe.errors import GenpipeError, Interrupted, UsageError
from genpipe.execution.job import Job, Outcome, run_job
from genpipe.execution.threads import wait_politely

SHUTDOWN_SECONDS = 10.0
CONNECT_SECONDS = 5.0
WORKER_DIED = "^A worker died or was killed"  # how a paragraph begins that Ray prints on stdout


def _remote_job(job: Job) -> Outcome:
    return run_job(job, redirect=True)


class RayExecutor:
    """address: a cluster's ("auto", "host:port", "ray://…"); None starts an embedded Ray for this run."""

    def __init__(self, address: str | None = None) -> None:
        self._address = address
        self._tasks: dict[Any, Job] = {}
        self._ours = False
        self._imported = False

    def start(self, jobs: Iterable[Job]) -> None:
        wait_politely()  # an embedded Ray's workers inherit it
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", WORKER_DIED)  # the step's error says it, in a line
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        if self._address:
            _send_token_if_there_is_one()  # before Ray is imported, which reads it once
        try:
            import ray
        except ImportError:
            raise UsageError("Ray is not installed; `--executor inline` runs the steps in this process") from None
        self._imported = True
        self._ours = not ray.is_initialized()
        if self._ours:
            if self._address:
                _reach(self._address)
            options: dict[str, Any] = {} if self._address else {"include_dashboard": False}
            with _signal_handlers_kept():
                try:
                    ray.init(self._address or "local", log_to_driver=False, logging_level=logging.ERROR, **options)
                except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
                    where = (
                        f"the Ray cluster at '{self._address}' cannot be reached"
                        if self._address
                        else "Ray did not start"
                    )
                    raise GenpipeError(f"{where}: {str(error).splitlines()[0]}") from error
        self._check(jobs)

    def _check(self, jobs: Iterable[Job]) -> None:
        """A task that no node can hold would wait forever."""
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        for job in jobs:
            if not any(n.get("CPU", 0) >= job.resources.cpus and n.get("GPU", 0) >= job.resources.gpus for n in nodes):
                most = max((n.get("CPU", 0) for n in nodes), default=0)
                gpus = max((n.get("GPU", 0) for n in nodes), default=0)
                raise UsageError(
                    f"step '{job.step}' asks for {job.resources.cpus} CPUs and {job.resources.gpus} GPUs; the largest node has "
                    f"{most:g} CPUs and {gpus:g} GPUs (resources.{job.step}.cpus, resources.{job.step}.gpus)"
                )

    def submit(self, job: Job) -> None:
        import ray

        # with several workers they ask, and the task that waits for them holds nothing
        held: dict[str, Any] = job.resources.ray_options() if job.workers == 1 else {"num_cpus": 0}
        options = {"max_retries": 0, "name": job.step, **held}
        self._tasks[ray.remote(**options)(_remote_job).remote(job)] = job

    def wait(self, seconds: float) -> list[Outcome]:
        import ray

        if not self._tasks:
            return []
        ready, _ = ray.wait(list(self._tasks), num_returns=1, timeout=seconds)
        return [self._outcome(task, self._tasks.pop(task)) for task in ready]

    def _outcome(self, task: Any, job: Job) -> Outcome:
        import ray

        try:
            outcome: Outcome = ray.get(task)
            return outcome
        except ray.exceptions.OutOfMemoryError as error:
            message = f"its worker was killed for memory: {str(error).splitlines()[0]}"
        except ray.exceptions.WorkerCrashedError:
            message = "its worker process died (killed, out of memory, or a crash in compiled code)"
        except ray.exceptions.RayError as error:
            message = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        return Outcome(step=job.step, seconds=0.0, summary={}, error=message, exit_code=1)

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
        if self._ours:
            # time-boxed: a raylet that hangs must not keep the command from ending
            closing = threading.Thread(target=ray.shutdown, daemon=True)
            closing.start()
            closing.join(SHUTDOWN_SECONDS)


def _reach(address: str) -> None:
    """GenpipeError where nothing listens at host:port; Ray itself would try for many minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return  # "auto" and the like, which Ray looks up
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise GenpipeError(f"the Ray cluster at '{address}' cannot be reached: {error.strerror or error}") from error


def _send_token_if_there_is_one() -> None:
    """Since 2.60 `ray start` asks for a token where one exists, but `ray.init(address)` sends it only if told to."""
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    if "RAY_AUTH_TOKEN" in os.environ or token.is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


@contextlib.contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """`ray.init` puts its own SIGTERM handler in place of ours."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except SystemExit as error:  # what Ray's handler does
        raise Interrupted(signal.SIGTERM) from error
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
