"""Runs whose driver is gone: told from those that live, whatever number, host or clock says otherwise."""

import os
import subprocess
import sys
import time

import pytest

from genpipe import heartbeat
from genpipe.dead_runs import close_dead_runs
from genpipe.processes import process_is_alive, process_start
from genpipe.runs import Run, StepRecord
from genpipe.workspace import Workspace

HOUR = 3600


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(heartbeat, "WATCH_SECONDS", 0.2)


@pytest.fixture
def space(tmp_path):
    return Workspace.choose(tmp_path / ".genpipe")


def made(space: Workspace, **driver: object) -> Run:
    run = Run.create(space, "r", {"seed": 0}, {"a": StepRecord("stage", "key", "artifacts/x/key", status="RUNNING")})
    for name, value in driver.items():
        setattr(run, name, value)
    run.save()
    return run


def status(run: Run) -> str:
    return Run.read(run.folder).status


def set_age(run: Run, seconds: float) -> None:
    path = run.folder / heartbeat.FILE
    path.touch()
    os.utime(path, (time.time() - seconds,) * 2)


def test_a_process_that_took_over_the_number_of_a_dead_one_is_another():
    assert process_is_alive(os.getpid(), process_start(os.getpid()))
    assert not process_is_alive(os.getpid(), process_start(os.getpid()) - 1)


def test_a_process_that_ended_and_was_not_waited_for_is_dead():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        while process_is_alive(process.pid):
            time.sleep(0.01)
        assert process.returncode is None


def test_a_run_whose_driver_s_number_was_taken_over_is_closed(space):
    run, alive = made(space, pid_started=1), made(space)
    assert [r.id for r in close_dead_runs(space)] == [run.id]
    assert (status(run), status(alive)) == ("KILLED", "RUNNING")
    assert Run.read(run.folder).steps["a"].status == "KILLED"


@pytest.mark.parametrize("age", [HOUR, -HOUR], ids=["old", "of the future"])
def test_a_run_of_another_host_is_closed_once_its_heartbeat_stands_still(space, age):
    run = made(space, process_space="elsewhere")
    set_age(run, age)
    assert [r.id for r in close_dead_runs(space)] == [run.id]
    assert (status(run), close_dead_runs(space)) == ("KILLED", [])


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_run_of_another_host_that_beats_lives_through_any_jump_of_the_clock(space, monkeypatch, jump):
    run = made(space, process_space="elsewhere")
    now = time.time
    monkeypatch.setattr(heartbeat, "WATCH_SECONDS", 300)  # at most: it ends with the first beat that is seen
    with heartbeat.beating(run.folder):
        monkeypatch.setattr(time, "time", lambda: now() + jump)
        assert close_dead_runs(space) == []
        assert status(run) == "RUNNING"
    assert not (run.folder / heartbeat.FILE).exists()


def test_a_run_of_another_host_that_beat_just_now_is_left_alone_without_a_wait(space, monkeypatch):
    run = made(space, process_space="elsewhere")
    set_age(run, 5)
    monkeypatch.setattr(heartbeat, "DOUBT_SECONDS", HOUR)
    monkeypatch.setattr(heartbeat, "stand_still", lambda folders: list(folders))
    assert close_dead_runs(space) == []


def test_a_run_that_ends_while_it_is_watched_keeps_its_end(space, monkeypatch):
    run = made(space, process_space="elsewhere")
    set_age(run, HOUR)
    stand_still = heartbeat.stand_still

    def finish_meanwhile(folders):
        run.status = "FINISHED"
        run.save()
        return stand_still(folders)

    monkeypatch.setattr(heartbeat, "stand_still", finish_meanwhile)
    assert close_dead_runs(space) == []
    assert status(run) == "FINISHED"


def test_a_beat_that_cannot_be_written_ends_nothing(tmp_path):
    with heartbeat.beating(tmp_path / "not there"):
        time.sleep(0.2)
