"""What the processes of trials are told, and what each trial holds of a machine."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genpipe.artifacts import write_atomically
from genpipe.errors import UsageError
from genpipe.graph import Step
from genpipe.parallel.resources import WorkerResources
from genpipe.runs import FAILED
from genpipe.sweeps.record import STOP, SweepRecord, read_runs, seed_file
from genpipe.sweeps.spec import TrialSpec
from genpipe.sweeps.trial import TASK
from genpipe.workspace import Workspace


@dataclass(frozen=True)
class Tasks:
    """Writes what trials' processes need to know. facts: for their journals; None where runs are not tracked."""

    record: SweepRecord
    workspace: Workspace
    to_step: str | None
    facts: Mapping[str, Any] | None

    def give(self, trial: TrialSpec) -> Path:
        """The trial's folder, with its task."""
        folder = self.record.trial_folder(trial.number)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / STOP).unlink(missing_ok=True)
        for run in read_runs(folder, self.record.seeds):
            if run.status == FAILED:
                seed_file(folder, run.seed).unlink()
        about = None
        if self.facts is not None:
            values = {f"swept.{key}": value for key, value in trial.values.items()}
            about = {**self.facts, "sweep": self.record.id, "trial": trial.number, **values}
        task = {
            "name": f"{self.record.recipe}-trial-{trial.number}",
            "workspace": str(self.workspace.root),
            "store": self.workspace.store.address if self.workspace.store is not None else None,
            "cwd": os.getcwd(),
            "path": os.environ.get("PYTHONPATH", ""),
            "seeds": list(self.record.seeds),
            "recipes": [dict(recipe.resolved) for recipe in trial.recipes],
            "stop_on": self.record.stop_on,
            "to_step": self.to_step,
            "facts": about,
        }
        write_atomically(folder / TASK, json.dumps(task, indent=1))
        return folder


def held_by(trial: TrialSpec, to_step: str | None) -> dict[str, float]:
    """What a trial holds all the time: the most that any of its steps asks for, of each resource."""
    graph = trial.recipes[0].graph()
    wanted = graph.before(to_step) if to_step else set(graph.steps)
    most: dict[str, float] = {"CPU": 1.0}
    for step in graph:
        if step.id not in wanted:
            continue
        _one_process(step)
        asked = WorkerResources(**step.resources.model_dump()) if step.resources else WorkerResources()
        for name, amount in asked.amounts().items():
            most[name] = max(amount, most.get(name, 0.0))
        if asked.accelerator_type is not None:
            most[f"accelerator_type:{asked.accelerator_type}"] = 0.001  # as Ray does for tasks
    return most


def _one_process(step: Step) -> None:
    if step.workers > 1:
        raise UsageError(
            f"step '{step.id}' has {step.workers} workers; the trials of a sweep run side by side, one process each: "
            f"set {step.id}.workers=1"
        )
