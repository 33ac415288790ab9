"""A Ray of this process's own for a file's tests, however busy the machine is that it starts and ends on."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import Popen
from typing import Any

NUM_TRIES = 10


@contextmanager
def ray_here(num_cpus: int) -> Iterator[None]:
    """Ray waits thirty seconds for its processes to start, then gives up: it is started again.

    It waits for a second for them to end, and leaves what has not: a warning of Python's, in whatever test is next.
    """
    import ray

    from genpipe.execution.connect import LATE

    others = running()
    for left in reversed(range(NUM_TRIES)):
        try:
            ray.init("local", num_cpus=num_cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
            break
        except Exception as error:
            if LATE not in str(error) or not left:
                raise
            end(others)
    try:
        yield
    finally:
        end(others)


def end(others: list[Popen[Any]]) -> None:
    """Ends Ray, with every process that was not there before it."""
    import ray

    ray.shutdown()
    for process in running():
        if process not in others:
            process.kill()
            process.wait()


def running() -> list[Popen[Any]]:
    """The processes that this one has started and not yet waited for."""
    return [each for each in gc.get_objects() if issubclass(type(each), Popen) and each.returncode is None]
