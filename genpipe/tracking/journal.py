"""The journal: an observer that appends every event of a run to a file in the run's folder."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from genpipe.hookspecs import hookimpl
from genpipe.redact import redacted
from genpipe.runs import Run

JOURNAL = "events.jsonl"

logger = logging.getLogger("genpipe")


class Journal:
    """Writes `events.jsonl`. Each line: {"event", "time", …}; metrics are finite or named strings.

    members: of steps that are parts of something beside the run, what `step_started` tells of that.
    """

    def __init__(
        self, facts: Mapping[str, Any], members: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    ) -> None:
        self._facts, self._members = dict(facts), members

    def _write(self, run: Run, event: str, **fields: Any) -> None:
        append_event(run.folder, event, **fields)

    @hookimpl
    def run_started(self, run: Run) -> None:
        recipe = yaml.safe_load((run.folder / "recipe.yaml").read_text())
        self._write(
            run,
            "run_started",
            name=run.id,
            recipe=run.recipe,
            parameters=flat(recipe),
            facts=self._facts,
            started=run.started,
        )

    @hookimpl
    def step_started(self, run: Run, step: str, stage: str, key: str, cached: bool) -> None:
        member = {"member": self._members[step]} if step in self._members else {}
        self._write(run, "step_started", step=step, stage=stage, key=key, cached=cached, **member)

    @hookimpl
    def step_progress(self, run: Run, step: str, at: int, metrics: Mapping[str, float], time: float) -> None:
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        if finite:
            self._write(run, "metrics", step=step, at=at, metrics=finite, at_time=time)

    @hookimpl
    def step_notice(self, run: Run, step: str, text: str) -> None:
        self._write(run, "step_notice", step=step, text=text)

    @hookimpl
    def step_finished(self, run: Run, step: str, artifact: str, seconds: float, summary: Mapping[str, Any]) -> None:
        self._write(run, "step_finished", step=step, artifact=artifact, seconds=seconds, summary=dict(summary))

    @hookimpl
    def step_failed(self, run: Run, step: str, error: str) -> None:
        self._write(run, "step_failed", step=step, error=error)

    @hookimpl
    def run_finished(self, run: Run, status: str, error: str | None) -> None:
        self._write(run, "run_finished", status=status, error=error)


def append_event(folder: Path, event: str, **fields: Any) -> None:
    """Adds a line to the journal in a folder."""
    line = redacted(json.dumps({"event": event, "time": time.time(), **fields}, default=str))
    with (folder / JOURNAL).open("a+b") as file:
        if file.tell() and file.seek(-1, os.SEEK_END) and file.read(1) != b"\n":
            file.write(b"\n")  # a driver was killed in its last line
        file.write(line.encode() + b"\n")


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings and lists as one mapping with dotted keys."""
    if isinstance(values, Mapping):
        items: Iterator[tuple[Any, Any]] = iter(values.items())
    elif isinstance(values, list | tuple) and any(isinstance(v, Mapping | list | tuple) for v in values):
        items = iter(enumerate(values))
    else:
        return {prefix: values}
    found: dict[str, Any] = {}
    for key, value in items:
        found.update(flat(value, f"{prefix}.{key}" if prefix else str(key)))
    return found


def read_events(folder: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Events of a run from a byte offset on, and the offset after the last whole one. Damaged lines are passed over."""
    path = folder / JOURNAL
    if not path.exists():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        text = file.read()
    whole = text[: text.rfind(b"\n") + 1]
    events = []
    for line in whole.splitlines():
        try:
            events.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            logger.warning("%s has a damaged line, which is passed over", path)
    return events, offset + len(whole)
