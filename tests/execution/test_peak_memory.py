"""A step's peak memory is its own: what it held at most, not what the process held before."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from genpipe.execution.peak_memory import PeakMemory

MEGABYTE = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's count of peak memory is Linux's")
def test_the_peak_is_of_what_came_since() -> None:
    def peak(megabytes: int) -> int:
        memory = PeakMemory(gpu=False)
        np.ones(megabytes * MEGABYTE, dtype=np.uint8)  # gone at once; its pages were there
        return memory.facts()["peak_memory_bytes"]

    before = peak(0)
    assert peak(300) - before > 250 * MEGABYTE
    assert peak(0) - before < 50 * MEGABYTE
