"""Whole sweeps of the toy pipeline over Ray Tune: shared steps, early stops, seeds, failures, kills."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import genpipe
from genpipe.errors import GenpipeError
from genpipe.runs import all_runs, find_run
from genpipe.sweeps.record import SweepRecord
from genpipe.workspace import Workspace
from tests.ray_here import ray_of_a_driver

SECONDS = 900  # Ray on a busy machine, which may have to start it again


@pytest.fixture
def space(tmp_path):
    return Workspace.choose(tmp_path / ".genpipe")


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_text("pipeline: toy_training\nnumber: {value: 2, seconds: 0.5}\ntrain: {steps: 18}\n")
    return path


@pytest.fixture
def sweep(plugins, recipe, space):
    def run(overrides, **options):
        options = {"tracking": "off", "progress": False, **options}
        return genpipe.sweep(recipe, overrides, workspace=space.root, **options)

    with ray_of_a_driver():
        yield run


def only_record(space: Workspace) -> SweepRecord:
    (folder,) = space.sweeps.iterdir()
    return SweepRecord.read(folder)


def times_made(space: Workspace, step: str) -> int:
    """In how many runs; others that wanted the same waited for it, or found it."""
    return sum(run.progress(step).exists() for run in all_runs(space))


def test_a_sweep_ranks_by_the_mean_over_seeds_shares_steps_and_tells_what_broke(sweep, space):
    overrides = {"train.floor": [2, 1], "train.then": ["succeed", "diverge"], "train.noise": 0.5}
    done = sweep(overrides, seeds=2, stop_on=None)
    rows = done.ranking.rows
    assert [row.trial.values["train.floor"] for row in rows[:2]] == [1, 2]
    assert [(row.value, row.standard_error) for row in rows[:2]] == [(1.25, 0.25), (2.25, 0.25)]
    assert [row.status for row in rows[2:]] == ["FAILED"] * 2
    assert all("the loss is not finite" in row.trial.error for row in rows[2:])
    assert all(len(row.trial.runs) == 1 for row in rows[2:]), "no seed is spent on what fails"

    assert times_made(space, "number") == 1, "the step that trials share is made once"
    assert len(list((space.artifacts / "number").iterdir())) == 1
    assert {run.status for run in all_runs(space)} == {"FINISHED", "FAILED"}

    assert done.best.id == rows[0].trial.runs[0].run
    assert find_run(space, done.best.id).artifact("train").is_dir()
    table = list(csv.DictReader((done.folder / "table.csv").read_text().splitlines()))
    assert [row["rank"] for row in table] == ["1", "2", "", ""]
    assert (done.folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert not (done.folder / "tune").exists()


def test_the_best_third_of_those_that_came_so_far_goes_on(tmp_path):
    pytest.importorskip("ray")
    from genpipe.sweeps.tuner import EarlyStopping

    scheduler = EarlyStopping()
    scheduler.learn(
        "before-0", [{"done": 0.05, "value": 9.0}, {"done": 0.15, "value": 2.0}, {"done": 1.0, "value": 1.0}]
    )

    def decision(number: int, percent: float, value: float) -> str:
        trial = SimpleNamespace(trial_id=str(number), config={"folder": str(tmp_path / str(number))})
        if not (tmp_path / str(number)).exists():
            (tmp_path / str(number)).mkdir()
            scheduler.on_trial_add(None, trial)
        return scheduler.on_trial_result(None, trial, {"percent": percent, "value": value})

    assert decision(1, 5, 99.0) == "CONTINUE", "before the first rung nobody is compared"
    assert decision(1, 12, 3.0) == "CONTINUE", "of two there is no best third"
    assert decision(2, 12, 5.0) == "STOP"
    assert "after 12 % of its training 5 was not among the best third of 3" in (tmp_path / "2" / "stop").read_text()
    assert decision(3, 12, 0.5) == "CONTINUE"
    assert decision(3, 20, 50.0) == "CONTINUE", "between rungs nobody is compared"
    assert decision(4, 12, 2.5) == "STOP", "held against what an earlier attempt reported"
    assert decision(5, 100, 0.1) == "CONTINUE", "what trained to the end is never stopped"


@pytest.mark.slow
def test_a_sweep_grows_and_tries_again_what_failed_and_nothing_else(sweep, space):
    overrides = {"train.floor": "log(1,10)", "train.then": ["succeed", "diverge"], "train.noise": 0.5}
    done = sweep(overrides, trials=4, stop_on=None)
    before = {run.id for run in all_runs(space)}
    assert sweep({**overrides}, trials=4, stop_on=None).id == done.id
    again = [run for run in all_runs(space) if run.id not in before]
    assert [run.status for run in again] == ["FAILED"] * 2

    before = {run.id for run in all_runs(space)}
    grown = sweep(overrides, trials=6, seeds=2, stop_on=None, metric="floor", mode="max")
    assert grown.id == done.id
    values = [row.value for row in grown.ranking.rows[:3]]
    assert values == sorted(values, reverse=True)
    new = [run for run in all_runs(space) if run.id not in before]
    # two more seeds, a trial with both, and three that fail with their first
    assert sorted(run.status for run in new) == ["FAILED"] * 3 + ["FINISHED"] * 4


@pytest.mark.slow
def test_poor_trials_are_stopped_early_and_their_checkpoints_dropped(sweep, space):
    done = sweep({"train.floor": [1, 2, 3, 4, 50, 60, 70, 80], "train.seconds": 0.25})
    stopped = [row for row in done.ranking.rows if row.status == "STOPPED"]
    assert {row.trial.values["train.floor"] for row in stopped} >= {70, 80}
    assert done.ranking.best.value == 1
    for row in stopped:
        assert row.trial.error.startswith("stopped early: after ")
        run = find_run(space, row.trial.runs[0].run)
        assert (run.status, run.steps["train"].status) == ("KILLED", "KILLED")
        assert run.error == row.trial.error
    assert list((space.root / "scratch").iterdir()) == []


@pytest.mark.slow
def test_where_every_trial_fails_the_first_error_is_told(sweep, space):
    with pytest.raises(
        GenpipeError, match=r"no trial of the sweep finished \(of 2\); trial 0: .*the loss is not finite"
    ):
        sweep({"train.floor": [1, 2], "train.then": "diverge"})
    assert only_record(space).status == "FAILED"


@pytest.mark.slow
def test_a_trial_whose_process_dies_fails_alone(sweep):
    done = sweep({"train.then": ["die", "succeed"]}, stop_on=None)
    assert [row.status for row in done.ranking.rows] == ["FINISHED", "FAILED"]
    assert "its process died" in done.ranking.rows[1].trial.error


@pytest.mark.slow
def test_what_no_machine_can_hold_is_refused_at_once(sweep):
    with pytest.raises(GenpipeError, match=r"a trial holds CPU 5000 .*no node has as much"):
        sweep({"train.floor": [1, 2], "resources.train.cpus": 5000})


def alive(pids):
    """Those that still run; what nobody has waited for is dead too."""
    states = {pid: Path(f"/proc/{pid}/stat") for pid in pids}
    return [
        pid for pid, stat in states.items() if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
    ]


def children_of(pid: int) -> list[int]:
    """All processes below one."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(a): int(b) for a, b in (line.split() for line in listing.splitlines())}
    found, new = [], [pid]
    while new:
        new = [p for p, parent in parents.items() if parent in new]
        found += new
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_sweep_that_is_ended_in_the_middle_leaves_nothing_running_and_goes_on(
    number, code, tmp_path, plugins, recipe, space
):
    gate = tmp_path / "gate"
    gate.write_text("")
    arguments = ["sweep", str(recipe), "train.floor=[1,2,3,4]", f"train.wait_for={gate}", "--stop-on", "off"]
    arguments += ["--tracking", "off"]
    command = [sys.executable, "-m", "genpipe", *arguments]
    # the gate is closed once a trial has finished, so that others are caught in the middle
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, env=dict(os.environ))
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if space.sweeps.is_dir() and any(
            run.status == "FINISHED" for trial in only_record(space).trials for run in trial.runs
        ):
            gate.unlink(missing_ok=True)
        if not gate.exists() and any(
            run.status == "RUNNING" for trial in only_record(space).trials for run in trial.runs
        ):
            break
        time.sleep(0.05)
    assert not gate.exists()
    below = children_of(process.pid)
    process.send_signal(number)
    assert process.wait(SECONDS) == code
    while alive(below) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not alive(below)
    kept = {run.run: run for trial in only_record(space).trials for run in trial.runs if run.status == "FINISHED"}
    assert kept
    assert len(kept) < 4

    gate.write_text("")
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS)
    assert again.returncode == 0, again.stderr
    record = only_record(space)
    assert record.status == "FINISHED"
    runs = [run for trial in record.trials for run in trial.runs]
    assert [run.status for run in runs] == ["FINISHED"] * 4
    assert set(kept) <= {run.run for run in runs}, "what was finished is kept"
    assert times_made(space, "number") == 1
    assert not [run for run in all_runs(space) if run.status == "RUNNING"]


@pytest.mark.slow
def test_a_sweep_is_one_run_for_the_tracker_with_its_trials_below(sweep, space):
    done = sweep({"train.floor": [1, 2, 50], "train.seconds": 0.1}, tracking=space.tracking_uri, seeds=2)
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=space.tracking_uri)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}, "two levels"
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["best train.loss"] == done.ranking.best.value
    assert {"table.csv", "sweep.png"} <= {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {run.data.tags["genpipe.swept.train.floor"] for run in children} == {"1", "2", "50"}
    assert {run.data.tags["genpipe.run"] for run in children} == {run.id for run in all_runs(space)}
    assert all("number.value" in run.data.metrics for run in children)


def test_mistakes_are_told_before_anything_starts(in_process, recipe):
    answer = in_process("sweep", "toy.yaml", "train.flor=log(1,2)", "train.steps=log(1,9)")
    assert answer.returncode == 2
    assert "has 2 mistakes" in answer.stderr
    assert "did you mean 'floor'?" in answer.stderr
    assert not (recipe.parent / ".genpipe").exists()


def test_the_table_names_the_best_trial_and_what_to_type(plugins, recipe, space, capsys, monkeypatch):
    """Over a record as trials leave it, without Ray."""
    from genpipe.cli.sweep_table import print_sweep
    from genpipe.sweeps.driver import Sweep
    from genpipe.sweeps.ranking import rank
    from genpipe.sweeps.record import SeedRecord, TrialRecord

    run = genpipe.run(recipe, workspace=space.root, executor="inline", tracking="off", progress=False)
    runs = [
        SeedRecord(seed=0, status="FINISHED", run=run.id, metrics={"train.loss": 0.5}, better={"train.loss": "lower"}),
        SeedRecord(seed=0, status="FAILED", error="step 'train' failed: diverged\nand more"),
    ]
    trials = [TrialRecord(i, {"train.floor": i + 0.5}, (each,)) for i, each in enumerate(runs)]
    folder = space.sweeps / "toy-1"
    folder.mkdir(parents=True)
    record = SweepRecord(folder, "toy-1", "toy", {"train.floor": "uniform(0,9)"}, ["train.steps=18"], (0,), trials)
    print_sweep(Sweep(record, rank(record)), "toy.yaml")
    shown = capsys.readouterr().out
    assert "train.loss ↓" in shown
    assert "failed: step 'train' failed: diverged" in shown
    assert "trial 0  train.floor=0.5" in shown
    assert f"genpipe sample {run.id}" in shown
    assert "genpipe run toy.yaml train.steps=18 train.floor=0.5" in shown
    assert json.dumps(record.domains)
