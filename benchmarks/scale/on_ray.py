"""What Ray takes for a task, an actor's answer and an object, and a fan-out for an item of work."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scale.costs import median_seconds
from genpipe.execution.connect import connect, leave, prepare
from genpipe.parallel.actors import OnActors
from genpipe.parallel.resources import WorkerResources

TASKS = 1000
ITEMS = 1000


def ray_costs() -> dict[str, Any]:
    began = time.perf_counter()
    prepare(None)
    import ray

    connect(None)
    found: dict[str, Any] = {"Ray's start: s": time.perf_counter() - began}
    try:
        task = ray.remote(num_cpus=1)(_nothing)
        began = time.perf_counter()
        ray.get(task.remote())
        found["first task: s"] = time.perf_counter() - began
        seconds = median_seconds(lambda: ray.get([task.remote() for _ in range(TASKS)]), 3)
        found["warm task, of 1,000 at once: ms"] = seconds / TASKS * 1e3
        found["warm task, one after the other: ms"] = median_seconds(lambda: ray.get(task.remote()), 100) * 1e3
        actor = ray.remote(num_cpus=0)(_Echo).remote()
        ray.get(actor.echo.remote())
        found["actor's answer: ms"] = median_seconds(lambda: ray.get(actor.echo.remote()), 200) * 1e3
        block = np.zeros(1 << 24, dtype=np.uint8)
        found["object of 16 MiB put and got: ms"] = median_seconds(lambda: ray.get(ray.put(block)), 20) * 1e3
        with tempfile.TemporaryDirectory() as folder:
            found |= _fan_out(Path(folder))
    finally:
        leave()
    return found


def _fan_out(folder: Path) -> dict[str, float]:
    workers = OnActors(2, WorkerResources(), folder / "log")
    try:
        began = time.perf_counter()
        list(workers.map("benchmarks.scale.on_ray:doer", None, [0]))
        first = time.perf_counter() - began
        began = time.perf_counter()
        assert len(list(workers.map("benchmarks.scale.on_ray:doer", None, list(range(ITEMS))))) == ITEMS
        return {"fan-out's first item: s": first, "fan-out's item: ms": (time.perf_counter() - began) / ITEMS * 1e3}
    finally:
        workers.close()


def doer(shared: Any) -> Callable[[int], int]:
    return lambda item: item


def _nothing() -> None:
    return None


class _Echo:
    def echo(self) -> int:
        return 0
