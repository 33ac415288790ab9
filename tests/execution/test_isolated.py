"""An embedded Ray that does not start: how often it is tried, and what is said meanwhile."""

from __future__ import annotations

import logging

import pytest

from genpipe.errors import GenpipeError
from genpipe.execution import isolated
from genpipe.execution.connect import LATE
from genpipe.execution.isolated import IsolatedRay


@pytest.fixture
def starts(monkeypatch):
    """`starts(*errors)`: an executor whose Ray fails with these in turn, then starts, and the list of its starts."""

    made = []

    def make(*errors):
        tried: list[GenpipeError | None] = []
        outcomes = iter([*map(GenpipeError, errors), None])

        def start(self):
            tried.append(next(outcomes))
            if tried[-1] is not None:
                raise tried[-1]

        monkeypatch.setattr(isolated, "PAUSE_SECONDS", 0)
        monkeypatch.setattr(IsolatedRay, "_start_host", start)
        made.append(IsolatedRay(None))
        return made[-1], tried

    yield make
    for executor in made:
        executor.close()


def test_a_ray_that_is_late_is_started_again_and_each_time_it_is_said(starts, caplog):
    executor, tried = starts(*[f"Ray did not start: it {LATE}"] * 5)
    with caplog.at_level(logging.WARNING, "genpipe"):
        executor.start([])
    assert len(tried) == 6
    assert [record.message for record in caplog.records] == [f"Ray did not start: it {LATE}; trying again"] * 5


def test_one_that_is_late_for_good_or_fails_otherwise_is_given_up(starts):
    executor, tried = starts(*[f"Ray did not start: it {LATE}"] * 20)
    with pytest.raises(GenpipeError, match=LATE):
        executor.start([])
    assert len(tried) == isolated.LATE_STARTS
    executor, tried = starts(*["Ray did not start: no space left on device"] * 20)
    with pytest.raises(GenpipeError, match="no space left"):
        executor.start([])
    assert len(tried) == isolated.STARTS
