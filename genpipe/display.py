"""Shows a run as it goes: live bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, TextIO

from genpipe.hookspecs import hookimpl
from genpipe.runs import Run

PLAIN_INTERVAL_SECONDS = 5.0
SHOWN_METRICS = 3
RATE_REPORTS = 50  # the speed is that of the last ones, about ten seconds


def make_display(stream: TextIO | None = None) -> LiveDisplay | PlainDisplay:
    stream = stream or sys.stderr
    return LiveDisplay(stream) if stream.isatty() else PlainDisplay(stream)


def duration(seconds: float) -> str:
    """`0.42 s`, `38 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 10:
        return f"{seconds:.2g} s" if seconds >= 0.1 else f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:02.0f} min"


def _numbers(metrics: Mapping[str, float]) -> str:
    ordered = sorted(metrics.items(), key=lambda item: (item[0] != "loss", list(metrics).index(item[0])))
    return "  ".join(f"{name} {value:.4g}" for name, value in ordered[:SHOWN_METRICS])


class _Gauge:
    """What one step last said: its numbers, its rate over the last reports, the time left at that rate."""

    def __init__(self) -> None:
        self._reports: deque[tuple[float, int]] = deque(maxlen=RATE_REPORTS)
        self._metrics: dict[str, float] = {}

    def read(self, at: int, total: int | None, metrics: Mapping[str, float], now: float) -> tuple[str, str, str]:
        """Count, numbers and speed, as text. Numbers stay until new ones come: not every report has them."""
        self._metrics.update(metrics)
        self._reports.append((now, at))
        seconds, count = now - self._reports[0][0], at - self._reports[0][1]
        speed = ""
        if seconds > 0 and count > 0:
            rate = count / seconds
            speed = f"{rate:.3g}/s" + (f"  {duration((total - at) / rate)} left" if total and at < total else "")
        return f"{at}/{total}" if total else str(at), _numbers(self._metrics), speed


class PlainDisplay:
    """A line when a step starts, ends, and every few seconds in between."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown: dict[str, float] = {}
        self._gauges: dict[str, _Gauge] = {}

    def _line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def close(self) -> None:
        pass

    @hookimpl
    def run_started(self, run: Run) -> None:
        self._line(f"run {run.id}")

    @hookimpl
    def step_started(self, step: str, cached: bool) -> None:
        if not cached:
            self._line(f"{step:<12} started")
            self._shown[step], self._gauges[step] = time.time(), _Gauge()

    @hookimpl
    def step_progress(self, step: str, at: int, total: int | None, metrics: Mapping[str, float], time: float) -> None:
        texts = self._gauges[step].read(at, total, metrics, time)
        if time - self._shown[step] >= PLAIN_INTERVAL_SECONDS:
            self._shown[step] = time
            self._line(f"{step:<12} {'  '.join(filter(None, texts))}")

    @hookimpl
    def step_notice(self, step: str, text: str) -> None:
        self._line(f"{step:<12} {text}")

    @hookimpl
    def step_finished(self, run: Run, step: str, seconds: float) -> None:
        if run.steps[step].status == "CACHED":
            self._line(f"{step:<12} reused ({duration(seconds)} when it was made)")
        else:
            self._line(f"{step:<12} done in {duration(seconds)}")

    @hookimpl
    def step_failed(self, step: str, error: str) -> None:
        self._line(f"{step:<12} FAILED")


class LiveDisplay:
    """A bar per running step, redrawn in place, and a line for each that ended."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._console, self._escape = Console(file=stream, highlight=False), escape
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<12}", style="bold", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}", markup=False),
            TextColumn("{task.fields[numbers]}", style="cyan", markup=False),
            TextColumn("{task.fields[speed]}", style="dim", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._tasks: dict[str, Any] = {}
        self._gauges: dict[str, _Gauge] = {}
        self._starting: Any = None

    def close(self) -> None:
        self._progress.stop()

    @hookimpl
    def run_started(self, run: Run) -> None:
        self._console.print(f"run [bold]{self._escape(run.id)}[/]")
        self._progress.start()
        self._starting = self._add("starting")  # Ray takes seconds to come up

    def _add(self, name: str) -> Any:
        return self._progress.add_task(name, total=None, count="", numbers="", speed="")

    @hookimpl
    def step_started(self, step: str, cached: bool) -> None:
        if not cached:
            self._progress.update(self._starting, visible=False)
            self._tasks[step] = self._add(step)
            self._gauges[step] = _Gauge()

    @hookimpl
    def step_progress(self, step: str, at: int, total: int | None, metrics: Mapping[str, float], time: float) -> None:
        count, numbers, speed = self._gauges[step].read(at, total, metrics, time)
        self._progress.update(self._tasks[step], completed=at, total=total, count=count, numbers=numbers, speed=speed)

    @hookimpl
    def step_notice(self, step: str, text: str) -> None:
        self._console.print(f"[yellow]![/] {self._escape(f'{step:<12} {text}')}")

    def _end(self, step: str, line: str) -> None:
        if step in self._tasks:
            self._progress.remove_task(self._tasks.pop(step))
        self._console.print(line)

    @hookimpl
    def step_finished(self, run: Run, step: str, seconds: float) -> None:
        if run.steps[step].status == "CACHED":
            self._end(step, f"[dim]↺ {self._escape(f'{step:<12}')} reused ({duration(seconds)} when it was made)[/]")
        else:
            self._end(step, f"[green]✓[/] {self._escape(f'{step:<12}')} {duration(seconds)}")

    @hookimpl
    def step_failed(self, step: str, error: str) -> None:
        self._end(step, f"[red]✗[/] {self._escape(f'{step:<12}')} failed")

    @hookimpl
    def run_finished(self) -> None:
        self._progress.stop()
