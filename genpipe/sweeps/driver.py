"""A sweep from beginning to end: what is left to try, the trials, the table, the picture."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genpipe.api import tracking_uri
from genpipe.artifacts import disk_errors_named, write_atomically
from genpipe.dead_runs import close_dead_runs
from genpipe.digest import digest
from genpipe.errors import GenpipeError, Interrupted, UsageError, first_line
from genpipe.execution.turns import sole_maker
from genpipe.plan import Choice, make_plan
from genpipe.registry import Registry, registry
from genpipe.runs import FAILED, FINISHED, KILLED, Run
from genpipe.sweeps.display import SweepDisplay
from genpipe.sweeps.ranking import Ranking, rank
from genpipe.sweeps.record import ENDED, STOPPED, SweepRecord, TrialRecord, read_reports, read_runs
from genpipe.sweeps.spec import SweepSpec, read_sweep
from genpipe.sweeps.tasks import Tasks, held_by
from genpipe.sweeps.tracking import Untracked, tracking_of
from genpipe.workspace import Workspace

logger = logging.getLogger("genpipe")

ID_LENGTH = 8
CONNECT_ATTEMPTS = 3
TUNE = "tune"  # a sweep's folder for Ray Tune's own files
STOP_ON = "loss"


@dataclass(frozen=True)
class Sweep:
    """A sweep that ended. `best` is the run of the best trial's first seed; `genpipe.load(sweep.best)` its model."""

    record: SweepRecord
    ranking: Ranking

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def folder(self) -> Path:
        return self.record.folder

    @property
    def best(self) -> Run:
        row = self.ranking.best
        if row is None:
            raise UsageError(f"no trial of sweep {self.id} finished")
        return self.record.run_of(row.trial)

    def __repr__(self) -> str:
        return f"Sweep({self.id}, {self.record.status}, {len(self.record.trials)} trials)"


def sweep(
    recipe: str | Path | Mapping[str, Any],
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    trials: int | None = None,
    seeds: int | None = None,
    metric: str = "loss",
    mode: str | None = None,
    stop_on: str | None = STOP_ON,
    to_step: str | None = None,
    draw_seed: int = 0,
    workspace: str | Path | None = None,
    address: str | None = None,
    tracking: str | None = None,
    progress: bool = True,
) -> Sweep:
    """Tries a recipe with many values and ranks them; the same call again goes on, and reuses what there is.

    overrides: `{"train.learning_rate": "log(1e-4,1e-2)", "model.latent_dim": [8, 16, 32], "train.steps": 500}`:
    ranges to draw from, lists to go through, and plain values. trials: configurations (all of the grid where nothing is
    drawn); seeds: runs of each, ranked by their mean. metric: a step's final number, as `bits/dim` or `train.loss`;
    mode: "min" or "max", where the metric does not say itself. stop_on: the number that training reports by which ASHA
    stops poor trials early, low being good; None stops none. draw_seed: of the drawn values. The rest as for `run`.

    Raises RecipeError with all mistakes before anything runs; GenpipeError where every trial failed.
    """
    plugins = registry()
    spec = read_sweep(recipe, overrides, registry=plugins, num_trials=trials, num_seeds=seeds, draw_seed=draw_seed)
    return run_sweep(
        spec,
        Workspace.choose(workspace),
        plugins=plugins,
        metric=metric,
        mode=mode,
        stop_on=stop_on,
        to_step=to_step,
        address=address or os.environ.get("RAY_ADDRESS"),
        tracking=tracking,
        progress=progress,
    )


def run_sweep(
    spec: SweepSpec,
    workspace: Workspace,
    *,
    plugins: Registry,
    metric: str = "loss",
    mode: str | None = None,
    stop_on: str | None = STOP_ON,
    to_step: str | None = None,
    address: str | None = None,
    tracking: str | None = None,
    progress: bool = True,
) -> Sweep:
    """`sweep`, for a spec that is checked already."""
    if mode not in (None, "min", "max"):
        raise UsageError(f"mode '{mode}'; expected min or max")
    sweep_id = identify(spec, workspace, plugins, stop_on, to_step)
    folder = workspace.sweeps / sweep_id
    with disk_errors_named(workspace.root):
        folder.mkdir(parents=True, exist_ok=True)
    with sole_maker(folder / "sweep"):
        record = SweepRecord(
            folder=folder,
            id=sweep_id,
            recipe=spec.name,
            domains={key: str(domain) for key, domain in spec.domains.items()},
            overrides=list(spec.overrides),
            seeds=spec.seeds,
            trials=[TrialRecord(trial.number, trial.values) for trial in spec.trials],
            draw_seed=spec.draw_seed,
            stop_on=stop_on,
            metric=metric,
            mode=mode,
        )
        record.refresh()
        record.begin()
        left = [trial for trial in record.trials if not _has_ended(trial, spec.seeds)]
        display = SweepDisplay(record, len(left)) if progress else None
        watchers = [] if display is None else [display.look]
        try:
            with (
                _signals_noted() as received,
                tracking_of(record, spec, tracking_uri(tracking, workspace), workspace, warm_up=bool(left)) as tracked,
            ):
                try:
                    if left:
                        close_dead_runs(workspace)
                        tasks = Tasks(record, workspace, to_step, tracked.facts)
                        _run(record, spec, left, tasks, address, [*watchers, tracked.look], received)
                    if received:
                        raise Interrupted(received[0])
                    ranking = _conclude(record, tracked)
                except KeyboardInterrupt as error:
                    _end(record, tracked, KILLED, str(error) or "interrupted")
                    raise
                except BaseException as error:
                    _end(record, tracked, FAILED, str(error))
                    raise
                _end(record, tracked, FINISHED, None)
        finally:
            if display is not None:
                display.close()
        return Sweep(record, ranking)


def _end(record: SweepRecord, tracked: Untracked, status: str, error: str | None) -> None:
    record.end(status, error)
    tracked.end(status, error)


def identify(spec: SweepSpec, workspace: Workspace, plugins: Registry, stop_on: str | None, to_step: str | None) -> str:
    """The same for the same recipe, code, data and domains, however many trials and seeds, and whatever ranks them."""
    plan = make_plan(spec.trials[0].recipes[0], plugins, workspace, Choice(to_step=to_step))
    facts = {
        "keys": [step.key for step in plan.steps.values()],
        "domains": {key: str(domain) for key, domain in spec.domains.items()},
        "draw_seed": spec.draw_seed,
        "stop_on": stop_on,
    }
    return f"{spec.name}-{digest(facts)[:ID_LENGTH]}"


def _has_ended(trial: TrialRecord, seeds: tuple[int, ...]) -> bool:
    """Whether nothing of it is left to do. What failed is tried again: the next time the disk may not be full."""
    return trial.status(seeds) in (FINISHED, STOPPED)


def _run(
    record: SweepRecord,
    spec: SweepSpec,
    left: list[TrialRecord],
    tasks: Tasks,
    address: str | None,
    watchers: Sequence[Callable[[TrialRecord], None]],
    received: list[int],
) -> None:
    from genpipe.execution.connect import leave, prepare
    from genpipe.execution.session import Session
    from genpipe.execution.threads import wait_politely
    from genpipe.execution.watch import VARIABLE

    amounts = held_by(spec.trials[0], tasks.to_step)
    folders = [tasks.give(spec.trials[trial.number]) for trial in left]
    wait_politely()
    session = Session()
    os.environ[VARIABLE] = session.token  # for an embedded Ray, and so for the trials
    ours = False
    try:
        prepare(address)
        ours = _connect(address)
        from genpipe.sweeps.tuner import EarlyStopping, check_capacity, run_trials

        check_capacity(amounts)
        scheduler = EarlyStopping() if record.stop_on is not None else None
        for trial in record.trials:
            if scheduler is not None and trial.status(spec.seeds) in ENDED:
                reports, _ = read_reports(record.trial_folder(trial.number), spec.seeds[0])
                scheduler.learn(f"before-{trial.number}", reports)

        def look(folder: Path) -> bool:
            trial = TrialRecord(int(folder.name), {}, read_runs(folder, spec.seeds))
            for watcher in watchers:
                watcher(trial)
            return trial.status(spec.seeds) not in ENDED

        run_trials(
            folders,
            amounts,
            record.folder / TUNE,
            scheduler=scheduler,
            stop=lambda: bool(received),
            look=look,
        )
    finally:
        if ours:
            leave()
        session.close()
        shutil.rmtree(record.folder / TUNE, ignore_errors=True)  # what a late process of Ray's wrote there
        close_dead_runs(tasks.workspace)
        record.close_runs()


def _connect(address: str | None) -> bool:
    """See genpipe.execution.connect; an embedded Ray that does not come up, as on a busy machine, is tried again."""
    from genpipe.execution.connect import connect, leave

    for left in reversed(range(CONNECT_ATTEMPTS)):
        try:
            return connect(address)
        except Exception as error:  # Ray raises bare ones where a server of its own is late
            if address is not None or not left:
                if isinstance(error, GenpipeError):
                    raise
                raise GenpipeError(f"Ray did not start: {first_line(error)}") from error
            logger.warning("Ray did not start (%s); once more", first_line(error))
            leave()
    raise AssertionError("the last attempt returns or raises")


def _conclude(record: SweepRecord, tracked: Untracked) -> Ranking:
    """Ranks, and writes the table and the picture. GenpipeError where no trial finished."""
    ranking = rank(record)
    write_atomically(record.folder / "table.csv", ranking.csv())
    write_atomically(record.folder / "table.json", ranking.json())
    if not any(row.status == FINISHED for row in ranking.rows):
        first = next((row for row in ranking.rows if row.trial.error), None)
        because = "" if first is None else f"; trial {first.trial.number}: {first.trial.error}"
        raise GenpipeError(f"no trial of the sweep finished (of {len(ranking.rows)}){because}")
    if record.domains and ranking.best is not None:
        from genpipe.pictures import save
        from genpipe.sweeps.picture import sweep_figure

        save(sweep_figure(ranking, record.domains), record.folder / "sweep.png")
    tracked.conclude(ranking)
    return ranking


@contextlib.contextmanager
def _signals_noted() -> Iterator[list[int]]:
    """SIGINT and SIGTERM ask the trials to end; a second one ends at once. Gives a list that holds the first."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number: int, frame: Any) -> None:
        if received:
            raise Interrupted(number)
        received.append(number)

    kept = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
