"""One trial, in a process of its own: `python -m genpipe.sweeps.trial FOLDER`.

An ordinary run of the recipe for each seed, its steps in this process. It has a process of its own because a trial that
is stopped early, or takes more memory than there is, or crashes in compiled code, must end alone and at once.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from genpipe.artifacts import read_manifest
from genpipe.errors import GenpipeError, Interrupted
from genpipe.execution.driver import execute
from genpipe.execution.inline import InlineExecutor
from genpipe.execution.turns import sole_maker
from genpipe.hookspecs import hookimpl
from genpipe.observers import Observers
from genpipe.plan import Choice, Plan, make_plan
from genpipe.recipe import load_recipe
from genpipe.registry import Registry, registry
from genpipe.runs import FAILED, FINISHED, KILLED, RUNNING, Run
from genpipe.sweeps.record import (
    STOP,
    STOPPED,
    SeedRecord,
    read_reports,
    read_runs,
    reports_file,
    stop_reason,
    write_run,
)
from genpipe.table import Table
from genpipe.tracking.journal import Journal
from genpipe.workspace import Workspace

TASK = "trial.json"
WATCH_SECONDS = 0.5
END_SECONDS = 20.0
LOWER = ("loss",)  # numbers of training of which everybody knows which way is better


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s".lower())
    folder = Path(sys.argv[1])
    task = json.loads((folder / TASK).read_text())
    _end_when_told(folder)
    workspace, plugins = Workspace.choose(task["workspace"], task["store"]), registry()
    for seed, resolved in zip(task["seeds"], task["recipes"], strict=True):
        before = {record.seed: record for record in read_runs(folder, (seed,))}.get(seed)
        if before is None or before.status in (RUNNING, KILLED):
            before = run_seed(folder, seed, {"name": task["name"], **resolved}, task, workspace, plugins)
        if before.status != FINISHED:
            return  # the other seeds of a configuration that is stopped or fails would be spent on nothing


def run_seed(
    folder: Path, seed: int, recipe: Mapping[str, Any], task: Mapping[str, Any], workspace: Workspace, plugins: Registry
) -> SeedRecord:
    """One run, recorded from its beginning to its end, whatever that is."""
    began = time.time()
    witness = _Witness(folder, seed, task["stop_on"])
    listeners: list[Any] = [witness]
    if task["facts"] is not None:
        listeners.append(_TrialJournal(task["facts"], folder))
    ended = SeedRecord(seed=seed, status=RUNNING)
    plan: Plan | None = None
    try:
        choice = Choice(to_step=task["to_step"])
        plan = make_plan(load_recipe(recipe, registry=plugins), plugins, workspace, choice, check_files=True)
        run = execute(plan, Observers(plugins, listeners), workspace, InlineExecutor)
        metrics, better = numbers_of(run)
        seconds = sum(step.seconds or 0.0 for step in run.steps.values())
        ended = SeedRecord(
            seed=seed, status=FINISHED, run=run.id, metrics=metrics, better=better, done=1.0, seconds=seconds
        )
    except Interrupted:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # who watches over it may ask once more
        reason = stop_reason(folder)
        ended = SeedRecord(seed=seed, status=KILLED if reason is None else STOPPED, error=reason)
    except (GenpipeError, OSError) as error:
        ended = SeedRecord(seed=seed, status=FAILED, error=str(error))
    finally:
        if ended.status == RUNNING:
            ended = replace(ended, status=FAILED, error="a bug: see output.log")
        if ended.status != FINISHED:
            ended = replace(ended, run=witness.run_id, done=witness.done, seconds=time.time() - began)
        write_run(folder, ended)
    if ended.status == STOPPED and plan is not None and witness.run is not None:
        _close_stopped(witness.run, plan, str(ended.error), workspace)
    return ended


def numbers_of(run: Run) -> tuple[dict[str, float], dict[str, str]]:
    """Every final number of a run's steps, as `step.name`, and of those that are known which way is better."""
    metrics, better = {}, {}
    for step in run.steps:
        folder = run.artifact(step)
        directions = dict.fromkeys(LOWER, "lower")
        if (folder / "table.json").exists():
            rows = Table.read(folder / "table.json").rows
            directions |= {cell.name: cell.better for row in rows for cell in row.estimates if cell.better}
        for name, value in read_manifest(folder).summary.get("metrics", {}).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                metrics[f"{step}.{name}"] = float(value)
                # a likelihood's name has its kind behind the column's
                found = next((way for column, way in directions.items() if f"{name} ".startswith(f"{column} ")), None)
                if found is not None:
                    better[f"{step}.{name}"] = found
    return metrics, better


class _Witness:
    """Notes the run as soon as there is one, and what its training reports."""

    def __init__(self, folder: Path, seed: int, stop_on: str | None) -> None:
        self.run: Run | None = None
        self.done = 0.0
        self._folder, self._seed = folder, seed
        self._step, _, self._name = (stop_on or "").rpartition(".")
        before, _ = read_reports(folder, seed)
        self._last = max((report["done"] for report in before), default=-1.0)

    @property
    def run_id(self) -> str | None:
        return None if self.run is None else self.run.id

    @hookimpl
    def run_started(self, run: Run) -> None:
        self.run = run
        write_run(self._folder, SeedRecord(seed=self._seed, status=RUNNING, run=run.id))

    @hookimpl
    def step_progress(self, step: str, at: int, total: int | None, metrics: Mapping[str, float]) -> None:
        if self._step not in ("", step) or not total or self._name not in metrics:
            return
        self.done = at / total
        value = metrics[self._name]
        if math.isfinite(value) and self.done > self._last:  # a run that goes on from a checkpoint repeats some
            self._last = self.done
            with reports_file(self._folder, self._seed).open("a") as file:
                file.write(json.dumps({"done": self.done, "value": value}) + "\n")


class _TrialJournal(Journal):
    """Tells the tracker why a run was stopped."""

    def __init__(self, facts: Mapping[str, Any], folder: Path) -> None:
        super().__init__(facts)
        self._of_trial = folder

    @hookimpl
    def run_finished(self, run: Run, status: str, error: str | None) -> None:
        super().run_finished(run, status, (stop_reason(self._of_trial) if status == KILLED else None) or error)


def _close_stopped(run: Run, plan: Plan, reason: str, workspace: Workspace) -> None:
    """Says in the run's record why it ended, and drops the checkpoints of what nobody will go on with."""
    run.error = reason
    run.save()
    for name, step in run.steps.items():
        if step.status == KILLED:
            scratch = workspace.scratch(plan.steps[name].key)
            with sole_maker(scratch):  # another run may be at the same step
                shutil.rmtree(scratch, ignore_errors=True)


def _end_when_told(folder: Path) -> None:
    """Ends this process, as by SIGTERM, once the sweep stops the trial or whoever started it is gone.

    A worker may be killed at any moment, and then nobody is left to end what it started.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent and not (folder / STOP).exists():
            time.sleep(WATCH_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(END_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="watch").start()


if __name__ == "__main__":
    main()
