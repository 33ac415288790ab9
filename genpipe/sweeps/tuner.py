"""A sweep's trials through Ray Tune: as many at once as the cluster holds, the poor ones stopped early by ASHA.

Which values are tried is settled before (genpipe.sweeps.spec), so Tune only schedules and stops; and what a trial did is
in its own files, so Tune's state is thrown away: the next attempt hands the scheduler what was reported before.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from genpipe.errors import GenpipeError, UsageError, first_line
from genpipe.runs import FAILED, RUNNING
from genpipe.sweeps.record import STOP, read_reports, read_runs, stop_reason, write_run
from genpipe.sweeps.trial import TASK

POLL_SECONDS = 0.2
REPORT_SECONDS = 1.0  # a trial's actor answers at least as often, so that it can be stopped
END_SECONDS = 20
MAX_FAILURES = 2  # of a trial's worker; the trial goes on from its checkpoint
QUIET = ("ray.tune", "ray.air", "ray.train")

# Successive halving with η = 3 (Li et al. (2020), A system for massively parallel hyperparameter tuning): a trial goes on
# after 1/9 and after 1/3 of its training where it is among the best third that came so far.
REDUCTION, RUNGS = 3, (11, 33)  # percent
DONE, VALUE = "percent", "value"


class EarlyStopping(ASHAScheduler):
    """ASHA over the part of its training that a trial has done, which leaves the reason in the folder of what it stops."""

    def __init__(self) -> None:
        # Tune counts the rungs by a logarithm: one more than the last, or rounding takes that away
        super().__init__(
            DONE,
            VALUE,
            "min",
            max_t=RUNGS[-1] + 1,
            grace_period=RUNGS[0],
            reduction_factor=REDUCTION,
            stop_last_trials=False,
        )
        self._reached: dict[int, set[str]] = {rung: set() for rung in RUNGS}

    def learn(self, name: str, reports: Iterable[Mapping[str, float]]) -> None:
        """Takes what a trial of an earlier attempt had reported."""
        controller: Any = None
        trial: Any = SimpleNamespace(trial_id=name)
        self.on_trial_add(controller, trial)
        for report in reports:
            self._decide(controller, trial, _result(report))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        decision, others = self._decide(tune_controller, trial, result)
        if decision == TrialScheduler.STOP:
            reason = f"after {result[DONE]:.0f} % of its training {result[VALUE]:.4g} was not among the best third"
            (Path(trial.config["folder"]) / STOP).write_text(f"stopped early: {reason} of {others}")
        return decision

    def _decide(self, controller: Any, trial: Any, result: dict[str, Any]) -> tuple[str, int]:
        """Tune's decision, but that nobody is stopped before there can be a best third; and how many came so far."""
        decision: str = super().on_trial_result(controller, trial, result)
        came = 0
        for rung in RUNGS:
            if result.get(DONE, 0.0) >= rung:
                self._reached[rung].add(trial.trial_id)
                came = len(self._reached[rung])
        return (decision if came >= REDUCTION else TrialScheduler.CONTINUE), came


class TrialActor(tune.Trainable):
    """Watches over a trial's process, and tells Tune what its first seed reports."""

    def setup(self, config: dict[str, Any]) -> None:
        self._folder = Path(config["folder"])
        task = json.loads((self._folder / TASK).read_text())
        self._seeds, self._seed, self._offset = tuple(task["seeds"]), task["seeds"][0], 0
        self._stops = task["stop_on"] is not None
        self._last: dict[str, float] = {}
        self._rungs: deque[dict[str, float]] = deque()
        where = task["cwd"] if os.path.isdir(task["cwd"]) else None
        # this Ray may have been there before the driver, and know nothing of where that finds its plugins
        paths = [*os.environ.get("PYTHONPATH", "").split(os.pathsep), *task["path"].split(os.pathsep)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(filter(None, paths)))}
        command = [sys.executable, "-m", "genpipe.sweeps.trial", str(self._folder)]
        with (self._folder / "output.log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=where, env=environment, stdout=log, stderr=log)

    def step(self) -> dict[str, Any]:
        until = time.monotonic() + REPORT_SECONDS
        while True:
            ended = self._process.poll() is not None
            self._read()
            if self._rungs:  # all are compared at the same part of their training, however fast it goes
                return {**self._rungs.popleft(), "done": False}
            if ended:
                self._note_death()
            if ended or time.monotonic() > until:
                return {**self._last, "done": ended}
            time.sleep(POLL_SECONDS)

    def _read(self) -> None:
        reports, self._offset = read_reports(self._folder, self._seed, self._offset)
        for report in map(_result, reports if self._stops else ()):
            before = self._last.get(DONE, 0.0)
            if any(before < rung <= report[DONE] for rung in RUNGS):
                self._rungs.append(report)
            self._last = report

    def _note_death(self) -> None:
        """Where the process could not say itself how it ended."""
        if stop_reason(self._folder) is None:
            for run in read_runs(self._folder, self._seeds):
                if run.status == RUNNING:
                    error = f"its process died ({_cause(self._process.returncode)})"
                    write_run(self._folder, replace(run, status=FAILED, error=error))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cleanup()
        self.setup(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}  # Tune asks for one wherever a trial ends; the run has its own

    def load_checkpoint(self, checkpoint: Any) -> None:
        pass

    def cleanup(self) -> None:
        if self._process.poll() is None:
            if not (self._folder / STOP).exists():  # which it sees itself
                self._process.terminate()
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGKILL)
                self._process.wait()


def _cause(code: int) -> str:
    if code >= 0:
        return f"exit code {code}: see output.log"
    name = signal.Signals(-code).name
    return f"{name}: killed, out of memory" if name == "SIGKILL" else f"{name}: a crash in compiled code"


def _result(report: Mapping[str, float]) -> dict[str, float]:
    return {DONE: 100 * report["done"], VALUE: report["value"]}


class _OfThisProcess:
    """Tune writes its settings down, with all that they hold; nobody reads them again."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Watch(_OfThisProcess, tune.Callback):
    """Has those looked at that began, until they ended: a trial's process may end after Tune is done with it."""

    def __init__(self, look: Callable[[Path], bool]) -> None:
        self._look = look
        self._open: set[Path] = set()
        self._looked = 0.0

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._open.add(Path(trial.config["folder"]))

    def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
        if time.monotonic() - self._looked > POLL_SECONDS:
            self._looked = time.monotonic()
            self.look_at_all()

    def look_at_all(self) -> None:
        self._open = {folder for folder in sorted(self._open) if self._look(folder)}


class _StopWhen(_OfThisProcess, tune.Stopper):
    def __init__(self, asked: Callable[[], bool]) -> None:
        self._asked = asked

    def __call__(self, trial_id: str, result: Any) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._asked()


def check_capacity(amounts: Mapping[str, float]) -> None:
    """UsageError where no node holds a trial, which would wait forever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(name, 0.0) >= amount for name, amount in amounts.items()) for node in nodes):
        asked = ", ".join(f"{name} {amount:g}" for name, amount in amounts.items())
        there = "; ".join(f"CPU {node.get('CPU', 0):g}, GPU {node.get('GPU', 0):g}" for node in nodes)
        raise UsageError(f"a trial holds {asked} (resources.STEP.… in the recipe); no node has as much: {there}")


def run_trials(
    folders: list[Path],
    amounts: Mapping[str, float],
    scratch: Path,
    *,
    scheduler: EarlyStopping | None,
    stop: Callable[[], bool],
    look: Callable[[Path], bool],
) -> None:
    """Runs the trials in `folders`, each holding `amounts` of resources, until all ended or `stop` says so.

    scheduler: stops poor trials; None lets all end. look: told the folder of a trial that runs, again and again, until it
    says that there is nothing more to come. scratch: a folder that every node sees, for Tune's own files.
    """
    os.environ |= {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial may end without having reported
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_FORCE_TRIAL_CLEANUP_S": str(2 * END_SECONDS),
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # each trial's own files say how it ended
    watch = _Watch(look)
    tuner = tune.Tuner(
        tune.with_resources(TrialActor, tune.PlacementGroupFactory([dict(amounts)])),
        param_space={"folder": tune.grid_search([str(folder) for folder in folders])},
        tune_config=tune.TuneConfig(scheduler=scheduler, reuse_actors=True),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(scratch),
            stop=_StopWhen(stop),
            callbacks=[watch],
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except tune.TuneError as error:
        raise GenpipeError(f"Ray Tune gave up: {first_line(error)}") from error
    finally:
        watch.look_at_all()
        shutil.rmtree(scratch, ignore_errors=True)
