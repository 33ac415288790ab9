"""A Ray of this process's own for a file's tests, however busy the machine is that it starts and ends on."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import Popen
from typing import Any

import pytest

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


@contextmanager
def ray_of_a_driver() -> Iterator[None]:
    """The same for work that starts and ends a Ray in this process by itself."""
    from genpipe.errors import GenpipeError
    from genpipe.execution import connect

    others = running()
    connect_once = connect.connect

    def connect_at_last(address: str | None) -> bool:
        for left in reversed(range(NUM_TRIES)):
            try:
                return connect_once(address)
            except GenpipeError as error:
                if connect.LATE not in str(error) or not left:
                    raise
                end(others)
        raise AssertionError("the last try returns or raises")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connect, "connect", connect_at_last)
        patch.setattr(connect, "SHUTDOWN_SECONDS", 300.0)
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
