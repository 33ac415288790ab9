"""A sweep on disk: what it tries and how each trial went, in `sweeps/ID/` of the workspace.

The driver writes `sweep.json`; each trial's process writes its own files beside it, so that what is finished stays
finished whatever dies.
"""

from __future__ import annotations

import json
import logging
import math
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from genpipe.artifacts import write_atomically
from genpipe.errors import UsageError
from genpipe.runs import FAILED, FINISHED, KILLED, RUNNING, Run

logger = logging.getLogger("genpipe")

STOP = "stop"  # the file with the reason
WAITING, STOPPED = "WAITING", "STOPPED"
ENDED = (FINISHED, STOPPED, FAILED)  # never tried again; a KILLED run goes on from its checkpoint


@dataclass(frozen=True, kw_only=True)
class SeedRecord:
    """How one run of a trial went.

    run: its id. metrics: every final number, as `step.name`; better: "lower", "higher" or nothing for each.
    done: how far training came, of 1. seconds: what its steps took, also where they were reused.
    """

    seed: int
    status: str
    run: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    better: Mapping[str, str] = field(default_factory=dict)
    done: float = 0.0
    seconds: float = 0.0
    error: str | None = None


@dataclass(frozen=True)
class TrialRecord:
    """A configuration and its runs, one for each seed that was begun."""

    number: int
    values: Mapping[str, Any]
    runs: tuple[SeedRecord, ...] = ()

    @property
    def seconds(self) -> float:
        return sum(run.seconds for run in self.runs)

    def status(self, seeds: tuple[int, ...]) -> str:
        """FAILED or STOPPED where a run was; FINISHED where that of every seed is."""
        found = {run.seed: run.status for run in self.runs}
        for status in (FAILED, STOPPED, RUNNING, KILLED):
            if status in found.values():
                return status
        return FINISHED if set(found) >= set(seeds) else KILLED if found else WAITING

    @property
    def error(self) -> str | None:
        return next((run.error for run in self.runs if run.error), None)


@dataclass
class SweepRecord:
    """A sweep's record. Times are seconds since 1970; `folder` is where it lives.

    domains: how each swept key was written. stop_on: the number by which poor trials are stopped; None where none is.
    """

    folder: Path
    id: str
    recipe: str
    domains: dict[str, str]
    overrides: list[str]
    seeds: tuple[int, ...]
    trials: list[TrialRecord]
    draw_seed: int = 0
    stop_on: str | None = None
    metric: str = "loss"
    mode: str | None = None
    status: str = RUNNING
    started: float = 0.0
    ended: float | None = None
    error: str | None = None
    pid: int = 0
    host: str = ""

    def begin(self) -> None:
        self.status, self.started, self.ended, self.error = RUNNING, time.time(), None, None
        self.pid, self.host = os.getpid(), socket.gethostname()
        self.save()

    def end(self, status: str, error: str | None = None) -> None:
        self.status, self.ended, self.error = status, time.time(), error
        self.save()

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        plain = {name: value for name, value in vars(self).items() if name != "folder"}
        plain["trials"] = [{"number": trial.number, "values": dict(trial.values)} for trial in self.trials]
        write_atomically(self.folder / "sweep.json", json.dumps(plain, indent=1))

    @classmethod
    def read(cls, folder: Path) -> SweepRecord:
        """UsageError where the record is damaged."""
        path = folder / "sweep.json"
        try:
            plain = dict(json.loads(path.read_text()))
            trials = [TrialRecord(trial["number"], trial["values"]) for trial in plain.pop("trials")]
            known = {f.name for f in fields(cls)}
            seeds = tuple(plain.pop("seeds"))
            record = cls(folder=folder, trials=trials, seeds=seeds, **{k: v for k, v in plain.items() if k in known})
        except FileNotFoundError:
            raise UsageError(f"{folder} holds no sweep") from None
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} is damaged: {type(error).__name__}: {error}") from None
        record.refresh()
        return record

    def trial_folder(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:04d}"

    def refresh(self) -> None:
        """Reads how the trials went."""
        self.trials = [
            TrialRecord(trial.number, trial.values, read_runs(self.trial_folder(trial.number), self.seeds))
            for trial in self.trials
        ]

    def close_runs(self) -> None:
        """Once nothing runs any more: says of each run that did not come to say it how it ended."""
        self.refresh()
        for trial in self.trials:
            folder = self.trial_folder(trial.number)
            reason = stop_reason(folder)
            for run in trial.runs:
                if run.status == RUNNING:
                    write_run(folder, replace(run, status=STOPPED if reason else KILLED, error=reason))
        self.refresh()

    def run_of(self, trial: TrialRecord) -> Run:
        """The run of a trial's first seed."""
        if not trial.runs or trial.runs[0].run is None:
            raise UsageError(f"trial {trial.number} of sweep {self.id} has no run yet")
        return Run.read(self.folder.parent.parent / "runs" / trial.runs[0].run)


def stop_reason(folder: Path) -> str | None:
    """Why the sweep stopped the trial of a folder; None where it did not."""
    path = folder / STOP
    return path.read_text() if path.exists() else None


def seed_file(folder: Path, seed: int) -> Path:
    return folder / f"seed-{seed}.json"


def reports_file(folder: Path, seed: int) -> Path:
    """What training reported, a JSON line each: {"done": of 1, "value"}."""
    return folder / f"seed-{seed}.reports.jsonl"


def write_run(folder: Path, record: SeedRecord) -> None:
    plain = asdict(record)
    plain["metrics"] = {name: value for name, value in record.metrics.items() if math.isfinite(value)}
    write_atomically(seed_file(folder, record.seed), json.dumps(plain, indent=1))


def read_runs(folder: Path, seeds: tuple[int, ...]) -> tuple[SeedRecord, ...]:
    """The runs of a trial so far; one whose file is damaged counts as never begun, and is made again from its cache."""
    found = []
    for seed in seeds:
        path = seed_file(folder, seed)
        try:
            found.append(SeedRecord(**json.loads(path.read_text())))
        except FileNotFoundError:
            continue
        except (ValueError, TypeError) as error:
            logger.warning("%s is damaged (%s); its run is looked up again", path, error)
    return tuple(found)


def read_reports(folder: Path, seed: int, offset: int = 0) -> tuple[list[dict[str, float]], int]:
    """Whole lines of what a run reported, from a byte offset on, and the offset after them."""
    path = reports_file(folder, seed)
    if not path.exists():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        text = file.read()
    whole = text[: text.rfind(b"\n") + 1]
    return [json.loads(line) for line in whole.splitlines()], offset + len(whole)
