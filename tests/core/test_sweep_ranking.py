"""A sweep's ranking: means and errors over seeds, order, files."""

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genpipe.errors import UsageError
from genpipe.sweeps.ranking import full_name, mean_and_error, rank
from genpipe.sweeps.record import SeedRecord, SweepRecord, TrialRecord, read_runs, write_run

LOSS = "train.loss"


def sweep(trials, *, metric="loss", mode=None, seeds=(0,), folder=None):
    records = [TrialRecord(number, {"lr": 0.1 * number}, tuple(runs)) for number, runs in enumerate(trials)]
    return SweepRecord(folder, "toy-0", "toy", {"lr": "uniform(0,1)"}, [], seeds, records, metric=metric, mode=mode)


def finished(value, seed=0, **metrics):
    numbers = {LOSS: value, **metrics}
    return SeedRecord(seed=seed, status="FINISHED", run=f"r{seed}", metrics=numbers, better={LOSS: "lower"}, done=1.0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20))
def test_mean_and_standard_error_are_numpy_s(values):
    mean, error = mean_and_error(values)
    assert mean == pytest.approx(np.mean(values), rel=1e-9, abs=1e-9)
    assert error == pytest.approx(np.std(values, ddof=1) / np.sqrt(len(values)), rel=1e-6, abs=1e-9)


def test_one_seed_has_no_standard_error():
    assert mean_and_error([2.5]) == (2.5, None)


def test_trials_rank_by_their_mean_over_seeds():
    seeds = (0, 1, 2)
    numbers = [[3.0, 1.0, 2.0], [1.0, 1.1, 0.9], [5.0, 0.0, 0.1]]
    trials = [[finished(value, seed) for seed, value in enumerate(row)] for row in numbers]
    ranking = rank(sweep(trials, seeds=seeds))
    assert [row.trial.number for row in ranking.rows] == [1, 2, 0]
    for row in ranking.rows:
        own = numbers[row.trial.number]
        assert row.value == pytest.approx(np.mean(own))
        assert row.standard_error == pytest.approx(np.std(own, ddof=1) / np.sqrt(3))
    assert ranking.best.trial.number == 1
    assert [row.trial.number for row in rank(sweep(trials, seeds=seeds, mode="max")).rows] == [0, 2, 1]


def test_what_did_not_finish_comes_last_and_has_no_rank():
    stopped = SeedRecord(seed=0, status="STOPPED", done=0.3, error="stopped early")
    sooner = SeedRecord(seed=0, status="STOPPED", done=0.1, error="stopped early")
    failed = SeedRecord(seed=0, status="FAILED", error="diverged", metrics={LOSS: -1.0})
    trials = [[failed], [sooner], [finished(2.0)], [stopped], [finished(1.0)], []]
    ranking = rank(sweep(trials))
    assert [row.trial.number for row in ranking.rows] == [4, 2, 3, 1, 5, 0]
    assert [row.rank for row in ranking.rows] == [1, 2, None, None, None, None]


def test_a_trial_that_failed_with_one_seed_is_not_ranked_by_the_others():
    failed = SeedRecord(seed=1, status="FAILED", error="diverged")
    ranking = rank(sweep([[finished(0.1), failed], [finished(2.0), finished(3.0, 1)]], seeds=(0, 1)))
    assert [row.trial.number for row in ranking.rows] == [1, 0]
    assert ranking.rows[1].status == "FAILED"
    assert ranking.rows[1].value is None


def test_a_trial_lacks_what_its_seeds_still_lack():
    ranking = rank(sweep([[finished(0.1)]], seeds=(0, 1)))
    assert ranking.rows[0].status == "KILLED"
    assert ranking.best is None


def test_which_way_is_better_comes_with_the_metric_or_is_asked_for():
    trial = [finished(1.0, **{"evaluate.score": 3.0})]
    with pytest.raises(
        UsageError, match=r"'evaluate.score' is better low or high is not known: --mode min or --mode max"
    ):
        rank(sweep([trial], metric="score"))
    assert rank(sweep([trial], metric="score", mode="max")).mode == "max"
    assert rank(sweep([trial])).mode == "min"


def test_metrics_are_found_by_step_and_by_what_they_begin_with():
    known = ["train.loss", "evaluate.bits/dim lower_bound", "evaluate.oracle bits/dim", "sample.loss"]
    assert full_name("train.loss", known) == "train.loss"
    assert full_name("bits/dim", known) == "evaluate.bits/dim lower_bound"
    assert full_name("evaluate.bits/dim", known) == "evaluate.bits/dim lower_bound"
    with pytest.raises(UsageError, match=r"several numbers are a 'loss': sample.loss, train.loss"):
        full_name("loss", known)
    with pytest.raises(UsageError, match=r"no step gives a number 'bits/dm'; did you mean '.*bits/dim"):
        full_name("bits/dm", known)


def test_the_table_is_written_whole():
    trials = [[finished(0.25), finished(0.75, 1)], [finished(9.0), SeedRecord(seed=1, status="FAILED", error="a, b")]]
    ranking = rank(sweep(trials, seeds=(0, 1)))
    first, second = csv.DictReader(io.StringIO(ranking.csv()))
    assert (first["rank"], first["trial"], first["lr"], first[LOSS], first["standard_error"]) == (
        "1",
        "0",
        "0.0",
        "0.5",
        "0.25",
    )
    assert (second["rank"], second[LOSS], second["status"]) == ("", "", "FAILED")
    table = json.loads(ranking.json())
    assert table["metric"] == LOSS
    assert table["trials"][1]["error"] == "a, b"


def test_a_run_s_file_that_is_damaged_is_made_again(tmp_path, caplog):
    write_run(tmp_path, finished(float("nan")))
    assert read_runs(tmp_path, (0, 1))[0].metrics == {}
    (tmp_path / "seed-0.json").write_text('{"seed": 0')
    assert read_runs(tmp_path, (0, 1)) == ()
    assert "is damaged" in caplog.text


def test_a_record_is_read_as_it_was_saved(tmp_path):
    record = sweep([[], []], folder=tmp_path, seeds=(3, 4))
    record.begin()
    record.trial_folder(1).mkdir(parents=True)
    write_run(record.trial_folder(1), finished(0.5, 3))
    again = SweepRecord.read(tmp_path)
    assert again.seeds == (3, 4)
    assert [len(trial.runs) for trial in again.trials] == [0, 1]
    (tmp_path / "sweep.json").write_text("[")
    with pytest.raises(UsageError, match=r"sweep.json is damaged"):
        SweepRecord.read(tmp_path)
