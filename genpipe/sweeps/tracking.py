"""A sweep's journal: the tracker makes a run of it, with the trials' runs below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import yaml

from genpipe.artifacts import write_atomically
from genpipe.sweeps.ranking import Ranking
from genpipe.sweeps.record import SweepRecord, TrialRecord
from genpipe.sweeps.spec import SweepSpec, typed
from genpipe.tracking.facts import collect
from genpipe.tracking.journal import JOURNAL, append_event, flat
from genpipe.tracking.tracker import Tracker, warm
from genpipe.workspace import Workspace

FILES = ("table.csv", "table.json", "sweep.png")


class Untracked:
    """Where tracking is off."""

    facts: Mapping[str, Any] | None = None

    def look(self, trial: TrialRecord) -> None:
        """Sees to it that the runs of a trial are sent."""

    def conclude(self, ranking: Ranking) -> None:
        """Takes the results."""

    def end(self, status: str, error: str | None) -> None:
        """Takes how the sweep ended."""


class Tracked(Untracked):
    """Writes `events.jsonl` in the sweep's folder, as a run's journal does, and has the trials' journals sent."""

    facts: Mapping[str, Any]

    def __init__(self, record: SweepRecord, tracker: Tracker, workspace: Workspace) -> None:
        self.facts = collect()
        self._record, self._tracker, self._workspace = record, tracker, workspace
        self._followed: set[str] = set()

    def begin(self, recipe: Mapping[str, Any]) -> None:
        """recipe: of the first trial, resolved; of what is swept the domains are told."""
        record = self._record
        shared = {key: value for key, value in flat(recipe).items() if key not in record.domains}
        swept = {"recipe": record.recipe, "sweep": record.domains, "seeds": list(record.seeds), **shared}
        write_atomically(record.folder / "recipe.yaml", yaml.safe_dump(swept, sort_keys=False))
        if not (record.folder / JOURNAL).exists():  # a sweep that goes on is the same run
            append_event(
                record.folder,
                "run_started",
                name=f"sweep-of-{record.id}",  # the tracker drops two words, which are a run's date
                recipe=record.recipe,
                parameters={**shared, **record.domains},
                facts={**self.facts, "kind": "sweep"},
                started=record.started,
            )
        self._tracker.follow(record.folder)

    def look(self, trial: TrialRecord) -> None:
        for run in trial.runs:
            if run.run is not None and run.run not in self._followed:
                self._followed.add(run.run)
                self._tracker.follow(self._workspace.runs / run.run)

    def conclude(self, ranking: Ranking) -> None:
        best = ranking.best
        metrics: dict[str, float] = {"num_trials": len(ranking.rows)}
        tags = {"metric": ranking.metric, "mode": ranking.mode}
        if best is not None and best.value is not None:
            metrics[f"best {ranking.metric}"] = best.value
            tags |= {"best_trial": str(best.trial.number), "best": typed(best.trial.values)}
        append_event(self._record.folder, "results", metrics=metrics, tags=tags, files=FILES)

    def end(self, status: str, error: str | None) -> None:
        append_event(self._record.folder, "run_finished", status=status, error=error)


@contextmanager
def tracking_of(
    record: SweepRecord, spec: SweepSpec, uri: str | None, workspace: Workspace, *, warm_up: bool
) -> Iterator[Untracked]:
    """What tracks a sweep at `uri`, from a thread of this process: its trials write journals and send nothing.

    warm_up: start at once; else what is written now is sent by the next run.
    """
    if uri is None:
        yield Untracked()
        return
    tracker = Tracker(uri, workspace)
    tracked = Tracked(record, tracker, workspace)
    tracked.begin(spec.trials[0].recipes[0].resolved)
    with warm(tracker if warm_up else None):
        yield tracked
