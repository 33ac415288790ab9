"""Runs whose driver is gone without a word: found, and closed."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from genpipe import heartbeat
from genpipe.errors import GenpipeError
from genpipe.processes import process_is_alive, process_space
from genpipe.runs import KILLED, RUNNING, Run, all_runs
from genpipe.tracking.journal import JOURNAL, Journal
from genpipe.workspace import Workspace

logger = logging.getLogger("genpipe")


def close_dead_runs(workspace: Workspace) -> list[Run]:
    """Marks runs whose driver is gone as KILLED, in their journal and their record; gives those.

    A driver of this host is looked up by its number and start. One of another host is gone if its heartbeat is minutes
    old (or of the future: clocks may be wrong) and stands still while it is watched.
    """
    running = [run for run in all_runs(workspace) if run.status == RUNNING]
    here = [run for run in running if run.process_space == process_space()]
    dead = [run for run in here if not process_is_alive(run.pid, run.pid_started)]
    dead += _silent([run for run in running if run not in here])
    closed = [_close(run.folder) for run in dead]
    return [run for run in closed if run is not None]


def _silent(runs: list[Run]) -> list[Run]:
    doubtful = [run for run in runs if heartbeat.is_doubtful(run.folder)]
    for run in doubtful:
        seconds = heartbeat.WATCH_SECONDS
        logger.warning("run %s of host %s is watched for %g s: is it still alive?", run.id, run.host, seconds)
    stopped = heartbeat.stand_still([run.folder for run in doubtful])
    return [run for run in doubtful if run.folder in stopped]


def _close(folder: Path) -> Run | None:
    """The run, closed; None where it has ended meanwhile, or where nothing can be written."""
    run = Run.read(folder)
    if run.status != RUNNING:
        return None
    run.status, run.ended, run.error = KILLED, time.time(), "its process was killed"
    for step in run.steps.values():
        if step.status == RUNNING:
            step.status = KILLED
    try:
        if (folder / JOURNAL).exists():  # it was tracked
            Journal({}).run_finished(run, KILLED, run.error)
        run.save()
        (folder / heartbeat.FILE).unlink(missing_ok=True)
    except (OSError, GenpipeError) as error:
        logger.warning("run %s was killed, which cannot be noted: %s", run.id, error)
        return None
    return run
