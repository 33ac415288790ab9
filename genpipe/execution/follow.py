"""Follows the progress files of running steps and tells observers."""

from __future__ import annotations

import json
import threading
from typing import Any

from genpipe.observers import Observers
from genpipe.runs import Run

INTERVAL_SECONDS = 0.1


class ProgressFollower:
    """A thread that reads what steps report, while the driver waits for them."""

    def __init__(self, run: Run, observers: Observers) -> None:
        self._run, self._observers = run, observers
        self._offsets: dict[str, int] = {}
        self._furthest: dict[str, int] = {}
        self._told: dict[str, int] = {}  # up to where a step that is started again tells what was told before
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True, name="progress")

    @property
    def started(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def add(self, step: str) -> None:
        with self._lock:
            path = self._run.progress(step)
            self._offsets[step] = path.stat().st_size if path.exists() else 0
            self._told[step] = self._furthest.setdefault(step, -1)

    def remove(self, step: str) -> None:
        """Reads a step's last reports and stops following it."""
        with self._lock:
            self._read(step)
            self._offsets.pop(step, None)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._stop.wait(INTERVAL_SECONDS):
            with self._lock:
                for step in self._offsets:
                    self._read(step)

    def _read(self, step: str) -> None:
        path = self._run.progress(step)
        if step not in self._offsets or not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._offsets[step])
            lines = file.read()
        whole = lines[: lines.rfind(b"\n") + 1]  # a line still being written is read next time
        self._offsets[step] += len(whole)
        for line in whole.splitlines():
            try:
                report: dict[str, Any] = dict(json.loads(line))
            except (ValueError, TypeError):
                continue  # its process died in this line, and the next attempt went on in it
            self._furthest[step] = max(report["at"], self._furthest[step])
            self._observers.notify(
                "step_progress",
                run=self._run,
                step=step,
                at=report["at"],
                total=report["total"],
                metrics=report["metrics"] if report["at"] > self._told[step] else {},
                time=report["time"],
            )
