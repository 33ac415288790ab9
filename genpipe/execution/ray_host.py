"""The program of the process that Ray is in: takes jobs on its standard input, tells outcomes on its standard output."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from genpipe.errors import GenpipeError, UsageError
from genpipe.execution.cluster import RayExecutor
from genpipe.execution.connect import gcs_address
from genpipe.execution.job import Job
from genpipe.processes import process_is_alive

WAIT_SECONDS = 0.05
FAILED_PROBES = 3
SERVERS = ("gcs_server", "raylet")  # as the kernel names the processes of an embedded Ray that it cannot do without


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    messages: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=[messages], daemon=True).start()
    # what Ray and C code print goes where errors go
    with os.fdopen(os.dup(1), "wb", buffering=0) as answers:
        os.dup2(2, 1)
        _serve(messages, answers)
    os._exit(0)  # no thread of a Ray that hangs may keep this process


def _read(messages: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    for line in sys.stdin.buffer:
        messages.put(json.loads(line))
    messages.put(None)


def _serve(messages: queue.SimpleQueue[dict[str, Any] | None], answers: IO[bytes]) -> None:
    lock = threading.Lock()

    def answer(**fields: Any) -> None:
        with lock:
            answers.write(json.dumps(fields).encode() + b"\n")

    def end_once_lost(watch: _Servers | _Cluster) -> None:
        while not (lost := watch.lost()):
            time.sleep(watch.interval_seconds)
        answer(lost=lost)
        os._exit(1)

    first = messages.get()
    if first is None:
        return
    address, jobs = first["start"]["address"], [Job.from_dict(job) for job in first["start"]["jobs"]]
    if address is None:
        threading.Thread(target=end_once_lost, args=[_Servers()], daemon=True).start()
    executor = RayExecutor(address)
    try:
        executor.start(jobs)
    except GenpipeError as error:
        answer(error=str(error), usage=isinstance(error, UsageError))
        return
    if address is not None:
        threading.Thread(target=end_once_lost, args=[_Cluster(address, gcs_address())], daemon=True).start()
    answer(started=True)
    running = 0
    while True:
        try:
            message = messages.get(timeout=0 if running else None)
        except queue.Empty:
            for outcome in executor.wait(WAIT_SECONDS):
                running -= 1
                answer(outcome=dataclasses.asdict(outcome))
            continue
        if message is None:
            executor.close()
            return
        if "stop" in message:
            executor.stop(message["stop"])
        else:
            executor.submit(Job.from_dict(message["submit"]))
            running += 1


class _Servers:
    """Watches the servers of an embedded Ray, which are children of this process, as they come up and after."""

    interval_seconds = 0.5

    def __init__(self) -> None:
        self._children = Path(f"/proc/self/task/{os.getpid()}/children")  # not on every system
        self._servers: dict[str, str] = {}

    def lost(self) -> str | None:
        for pid in self._children.read_text().split() if self._children.exists() else ():
            with contextlib.suppress(OSError):
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                if name in SERVERS:
                    self._servers[pid] = name
        return next(
            (f"Ray's {name} died" for pid, name in self._servers.items() if not process_is_alive(int(pid))), None
        )


class _Cluster:
    """Tries whether a cluster's head still answers."""

    interval_seconds = 3.0

    def __init__(self, address: str, gcs_address: str) -> None:
        self._address = address
        host, _, port = gcs_address.rpartition(":")
        self._target = (host.strip("[]"), int(port))
        self._failed = 0

    def lost(self) -> str | None:
        try:
            socket.create_connection(self._target, timeout=self.interval_seconds).close()
            self._failed = 0
        except OSError:
            self._failed += 1
        return f"the Ray cluster at '{self._address}' went away" if self._failed >= FAILED_PROBES else None
