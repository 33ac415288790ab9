"""Digests of code, read by several threads of one process."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from genpipe.digest import CodeDigests


@pytest.fixture
def threads_take_turns_often() -> Iterator[None]:
    """Even within a call of C, where the garbage collector calls back into Python."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()

    def turn(phase: str, info: dict[str, int]) -> None:
        sum(range(50))

    sys.setswitchinterval(1e-6)
    gc.set_threshold(10, 2, 2)
    gc.callbacks.append(turn)
    yield
    gc.callbacks.remove(turn)
    gc.set_threshold(*thresholds)
    sys.setswitchinterval(interval)


def test_threads_read_code_at_once(threads_take_turns_often: None) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: CodeDigests().closure(["genpipe.plugins.mixture.model"]), range(4)))
    assert all(each == found[0] for each in found)
    assert "genpipe.model" in found[0]
