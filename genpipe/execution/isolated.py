"""Ray in a process of its own, so that what becomes of Ray does not become of the driver.

A core worker that loses its raylet or its GCS may hang, or abort the process that it is in. Here that is a process beside
the driver: when Ray is lost, all that belonged to it is ended, and the jobs that were under way are told as died, so that
the driver submits them again to a Ray that comes up anew.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import logging
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from genpipe.errors import GenpipeError, UsageError
from genpipe.execution.connect import LATE
from genpipe.execution.job import DIED, Job, Outcome
from genpipe.execution.session import Session

logger = logging.getLogger("genpipe")

STARTS = 2  # of an embedded Ray, before it is given up
LATE_STARTS = 10  # where all that ails it is a machine that is too busy for its thirty seconds
START_SECONDS = 180.0
PAUSE_SECONDS = 1.0  # between starts
RECONNECT_SECONDS = 30.0
CLOSE_SECONDS = 10.0
PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from genpipe.execution.ray_host import main; main()"


class IsolatedRay:
    """The executor of steps on Ray. address: a cluster's; None starts an embedded Ray for this run."""

    def __init__(self, address: str | None = None) -> None:
        self._address = address
        self._jobs: list[Job] = []
        self._running: dict[str, Job] = {}
        self._lost: str | None = None
        self._session: Session | None = None
        self._host: _Host | None = None

    def start(self, jobs: Iterable[Job]) -> None:
        try:
            found = importlib.util.find_spec("ray")
        except ImportError:
            found = None
        if found is None:
            raise UsageError("Ray is not installed; `--executor inline` runs the steps in this process")
        self._jobs = list(jobs)
        self._session = Session()
        self._come_up(None)

    def _come_up(self, lost: str | None) -> None:
        """lost: what became of the Ray that was there before; a cluster gets time to come back."""
        failed, again_until = 0, time.monotonic() + RECONNECT_SECONDS
        while True:
            try:
                self._host = self._start_host()
                return
            except UsageError:
                raise
            except (_Gone, GenpipeError) as error:
                failed += 1
                starts = LATE_STARTS if LATE in str(error) else STARTS
                may_try = failed < starts if self._address is None else lost and time.monotonic() < again_until
                if not may_try:
                    raise GenpipeError(
                        f"{lost}; then {error}; what was finished is kept, the same command goes on from there"
                        if lost
                        else str(error)
                    ) from None
                if self._address is None:
                    logger.warning("%s; trying again", error)
                time.sleep(PAUSE_SECONDS)

    def _start_host(self) -> _Host:
        assert self._session is not None
        self._session.end_processes()  # of a Ray that was lost
        host = _Host(self._session, Path(self._jobs[0].log).parents[1] / "ray.log")
        host.send(start={"address": self._address, "jobs": [dataclasses.asdict(job) for job in self._jobs]})
        try:
            answer = host.receive(START_SECONDS)
        except queue.Empty:
            raise _Gone(f"Ray did not start within {START_SECONDS:g} s") from None
        if "error" in answer:
            raise (UsageError if answer["usage"] else GenpipeError)(answer["error"])
        return host

    def submit(self, job: Job) -> None:
        if self._host is None:
            self._come_up(self._lost)
        assert self._host is not None
        self._running[job.step] = job
        self._host.send(submit=dataclasses.asdict(job))

    def stop(self, step: str) -> None:
        if self._host is not None:
            self._host.send(stop=step)

    def wait(self, seconds: float) -> list[Outcome]:
        if self._host is None:
            return []
        try:
            outcomes = [Outcome(**message["outcome"]) for message in self._host.receive_all(seconds)]
        except _Gone as gone:
            return self._lose(str(gone))
        for outcome in outcomes:
            del self._running[outcome.step]
        return outcomes

    def _lose(self, what: str) -> list[Outcome]:
        assert self._session is not None
        self._lost, self._host = what, None
        self._session.end_processes()
        died = [Outcome(step=step, state=DIED, error=what, exit_code=1) for step in self._running]
        self._running.clear()
        return died

    def close(self) -> None:
        """Leaves a cluster, or ends an embedded Ray at once: all that is worth keeping is in the workspace."""
        if self._host is not None and self._address is not None:
            self._host.leave(CLOSE_SECONDS)
        if self._session is not None:
            self._session.close()


class _Gone(Exception):
    """Ray's process has ended, or says that Ray is lost."""


class _Host:
    """The process that Ray is in: JSON lines there and back. What it prints otherwise goes to `log`."""

    def __init__(self, session: Session, log: Path) -> None:
        self._process = session.start([sys.executable, "-c", PROGRAM, json.dumps(sys.path)], log)
        self._log = log
        self._messages: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=[self._process.stdout], daemon=True, name="ray").start()

    def _read(self, lines: IO[bytes]) -> None:
        with lines, contextlib.suppress(ValueError):  # it was killed in its last line
            for line in lines:
                self._messages.put(json.loads(line))
        self._messages.put(None)

    def send(self, **message: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, which the next look for messages finds

    def receive(self, seconds: float) -> dict[str, Any]:
        """The next message. Raises queue.Empty where there is none in time, _Gone where none will come."""
        message = self._messages.get(timeout=seconds)
        if message is None:
            raise _Gone(f"Ray's process ended ({self._log} has what it said)")
        if "lost" in message:
            raise _Gone(message["lost"])
        return message

    def receive_all(self, seconds: float) -> list[dict[str, Any]]:
        """What comes within some seconds, and what is there then."""
        received: list[dict[str, Any]] = []
        try:
            received.append(self.receive(seconds))
            while not self._messages.empty():
                received.append(self.receive(0))
        except queue.Empty:
            pass
        except _Gone:
            if not received:
                raise
            self._messages.put(None)  # found again after what came before
        return received

    def leave(self, seconds: float) -> None:
        """Asks it to cancel its tasks and end."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(seconds)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            pass
