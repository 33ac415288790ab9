"""Shows a sweep as it goes: a bar for each running trial in a terminal, and a line for each that begins or ends."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from genpipe.display import PLAIN_INTERVAL_SECONDS, duration
from genpipe.runs import FAILED, FINISHED, RUNNING
from genpipe.sweeps.record import STOPPED, SeedRecord, SweepRecord, TrialRecord, read_reports
from genpipe.sweeps.spec import typed
from genpipe.words import number

MARKS = {FINISHED: ("✓", "green"), STOPPED: ("◼", "yellow"), FAILED: ("✗", "red")}


class SweepDisplay:
    """Shows what is new in a trial whenever it is told to `look`."""

    def __init__(self, record: SweepRecord, num_left: int, stream: TextIO | None = None) -> None:
        self._record, self._stream = record, stream or sys.stderr
        self._values = {trial.number: typed(trial.values) for trial in record.trials}
        self._status: dict[tuple[int, int], str] = {
            (trial.number, run.seed): run.status for trial in record.trials for run in trial.runs
        }
        self._shown: dict[int, float] = {}
        self._offsets: dict[tuple[int, int], int] = {}
        self._bars = _Bars(self._stream) if self._stream.isatty() and num_left else None
        seeds = f" of {len(record.seeds)} seeds" if len(record.seeds) > 1 else ""
        before = len(record.trials) - num_left
        done = f", {before} of them done before" if before else ""
        self._line(f"sweep {record.id}: {len(record.trials)} trials{seeds}{done}")

    def close(self) -> None:
        if self._bars is not None:
            self._bars.close()

    def look(self, trial: TrialRecord) -> None:
        for run in trial.runs:
            place = (trial.number, run.seed)
            if self._status.get(place) != run.status:
                self._status[place] = run.status
                self._changed(trial.number, run)
            if run.status == RUNNING:
                folder = self._record.trial_folder(trial.number)
                reports, self._offsets[place] = read_reports(folder, run.seed, self._offsets.get(place, 0))
                if reports:
                    self._progress(trial.number, run.seed, reports[-1])

    def _name(self, trial: int, seed: int) -> str:
        return f"trial {trial}" + (f" seed {seed}" if len(self._record.seeds) > 1 else "")

    def _changed(self, trial: int, run: SeedRecord) -> None:
        name = self._name(trial, run.seed)
        if run.status == RUNNING:
            self._shown[trial] = time.monotonic()
            if self._bars is not None:
                self._bars.show(name, 0.0, self._values[trial])
            else:
                self._line(f"{name:<12} started  {self._values[trial]}".rstrip())
            return
        if self._bars is not None:
            self._bars.hide(name)
        told = {
            FINISHED: f"done in {duration(run.seconds)}",
            STOPPED: str(run.error),
            FAILED: f"FAILED: {str(run.error).splitlines()[0]}",
        }.get(run.status, run.status.lower())
        mark, colour = MARKS.get(run.status, ("–", "dim"))
        self._line(f"{name:<12} {told}  {self._values[trial]}".rstrip(), mark, colour)

    def _progress(self, trial: int, seed: int, report: dict[str, float]) -> None:
        text = f"{self._record.stop_on or 'loss'} {number(report['value'])}"
        name = self._name(trial, seed)
        if self._bars is not None:
            self._bars.show(name, report["done"], f"{self._values[trial]}  {text}")
        elif time.monotonic() - self._shown.get(trial, 0.0) >= PLAIN_INTERVAL_SECONDS:
            self._shown[trial] = time.monotonic()
            self._line(f"{name:<12} {100 * report['done']:.0f} %  {text}")

    def _line(self, text: str, mark: str = "", colour: str = "") -> None:
        if self._bars is not None:
            self._bars.line(text, mark, colour)
        else:
            print(text, file=self._stream, flush=True)


class _Bars:
    """A bar per running trial, redrawn in place."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._console = Console(file=stream, highlight=False)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<12}", style="bold", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}", style="cyan", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._tasks: dict[str, Any] = {}
        self._progress.start()
        self._starting = self._progress.add_task("starting", total=None, text="")  # Ray takes seconds to come up

    def close(self) -> None:
        self._progress.stop()

    def show(self, name: str, done: float, text: str) -> None:
        self._progress.update(self._starting, visible=False)
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=1.0, text=text)
        self._progress.update(self._tasks[name], completed=done, text=text)

    def hide(self, name: str) -> None:
        if name in self._tasks:
            self._progress.remove_task(self._tasks.pop(name))

    def line(self, text: str, mark: str, colour: str) -> None:
        from rich.text import Text

        self._console.print(Text.assemble((f"{mark} ", colour), text) if mark else Text(text))
