"""A sweep's table: each trial's metric over its seeds, best first."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genpipe.errors import UsageError, nearest
from genpipe.runs import FAILED, FINISHED
from genpipe.sweeps.record import STOPPED, SweepRecord, TrialRecord
from genpipe.table import Estimate

MODES = {"lower": "min", "higher": "max"}


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A row. value: the metric's mean over seeds, None where the trial did not finish; standard_error: of that mean."""

    rank: int | None
    trial: TrialRecord
    status: str
    value: float | None
    standard_error: float | None
    num_seeds: int

    @property
    def estimate(self) -> Estimate | None:
        if self.value is None:
            return None
        return Estimate(name="", value=self.value, standard_error=self.standard_error, num=self.num_seeds)


@dataclass(frozen=True)
class Ranking:
    """Rows, best first; then what was stopped, the furthest first; then what failed. metric: its full name."""

    metric: str
    mode: str
    rows: tuple[Ranked, ...]

    @property
    def best(self) -> Ranked | None:
        return self.rows[0] if self.rows and self.rows[0].rank == 1 else None

    def csv(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        keys = list(self.rows[0].trial.values) if self.rows else []
        writer.writerow(
            ["rank", "trial", *keys, self.metric, "standard_error", "num_seeds", "status", "seconds", "runs"]
        )
        for row in self.rows:
            values = [_plain(row.trial.values[key]) for key in keys]
            runs = " ".join(run.run for run in row.trial.runs if run.run)
            numbers = [_number(row.value), _number(row.standard_error), row.num_seeds]
            rank = "" if row.rank is None else row.rank
            writer.writerow([rank, row.trial.number, *values, *numbers, row.status, f"{row.trial.seconds:.2f}", runs])
        return text.getvalue()

    def json(self) -> str:
        rows = [
            {
                "rank": row.rank,
                "trial": row.trial.number,
                "values": dict(row.trial.values),
                "value": row.value,
                "standard_error": row.standard_error,
                "num_seeds": row.num_seeds,
                "status": row.status,
                "seconds": row.trial.seconds,
                "runs": [run.run for run in row.trial.runs],
                "metrics": [dict(run.metrics) for run in row.trial.runs],
                "error": row.trial.error,
            }
            for row in self.rows
        ]
        return json.dumps({"metric": self.metric, "mode": self.mode, "trials": rows}, indent=1, allow_nan=False)


def rank(sweep: SweepRecord) -> Ranking:
    """The ranking by `sweep.metric` and `sweep.mode`; UsageError where no trial has the metric or its way is not known."""
    runs = [run for trial in sweep.trials for run in trial.runs if run.status == FINISHED]
    metric = full_name(sweep.metric, {name for run in runs for name in run.metrics}) if runs else sweep.metric
    ways: Mapping[str, str] = {k: v for run in runs for k, v in run.better.items()}
    mode = sweep.mode or MODES.get(ways.get(metric, ""))
    if mode is None:
        if runs:
            raise UsageError(f"whether '{metric}' is better low or high is not known: --mode min or --mode max")
        mode = "min"
    sign = 1 if mode == "min" else -1
    rows = [_row(trial, metric, sweep.seeds) for trial in sweep.trials]
    finished = sorted(
        (row for row in rows if row.value is not None), key=lambda row: (sign * (row.value or 0.0), row.trial.number)
    )
    placed = [Ranked(**{**vars(row), "rank": place, "trial": row.trial}) for place, row in enumerate(finished, start=1)]
    rest = sorted((row for row in rows if row.value is None), key=_order_of_unfinished)
    return Ranking(metric, mode, (*placed, *rest))


def full_name(asked: str, known: Iterable[str]) -> str:
    """The `step.name` that is meant by a name, a step's name, or the beginning of one that fits no other."""
    names = sorted(known)
    tests = (
        lambda name: name == asked,
        lambda name: name.partition(".")[2] == asked,
        lambda name: name.startswith(f"{asked} ") or name.partition(".")[2].startswith(f"{asked} "),
    )
    for test in tests:
        found = [name for name in names if test(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"several numbers are a '{asked}': {', '.join(found)}")
    short = {name.partition(".")[2]: name for name in names}
    there = f" (there is {', '.join(names)})" if names else ""
    raise UsageError(
        f"no step gives a number '{asked}'{nearest(asked, [*names, *short])}{there}; nothing is lost, the same command "
        "with another --metric ranks what has run"
    )


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and its standard error from the spread over at least two values."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    spread = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(spread / len(values))


def _row(trial: TrialRecord, metric: str, seeds: tuple[int, ...]) -> Ranked:
    status = trial.status(seeds)
    values = [run.metrics[metric] for run in trial.runs if metric in run.metrics]
    whole = status == FINISHED and len(values) == len(seeds)
    mean, error = mean_and_error(values) if whole else (None, None)
    return Ranked(rank=None, trial=trial, status=status, value=mean, standard_error=error, num_seeds=len(values))


def _order_of_unfinished(row: Ranked) -> tuple[int, float, int]:
    order = {FINISHED: 0, STOPPED: 1, FAILED: 3}.get(row.status, 2)
    return order, -max((run.done for run in row.trial.runs), default=0.0), row.trial.number


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)
