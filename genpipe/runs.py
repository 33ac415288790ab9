"""Runs on disk: one folder each, with the resolved recipe, the plan, the logs and a record of how it went."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from genpipe.artifacts import disk_errors_named, write_atomically
from genpipe.errors import UsageError, nearest
from genpipe.finding import find_manifest
from genpipe.processes import process_space, process_start
from genpipe.redact import redacted
from genpipe.table import Table
from genpipe.workspace import Workspace

logger = logging.getLogger("genpipe")

SECOND = len("20261231-235959")
MAX_NAME_LENGTH = 100
RUNNING, CACHED, FINISHED, FAILED, KILLED = "RUNNING", "CACHED", "FINISHED", "FAILED", "KILLED"


@dataclass
class StepRecord:
    """How one step of a run went.

    artifact: its folder, relative to the workspace, which may move. status: WAITING, RUNNING, CACHED, FINISHED,
    FAILED or KILLED. seconds: what making the artifact took, also where it was reused.
    """

    stage: str
    key: str
    artifact: str
    status: str = "WAITING"
    seconds: float | None = None


@dataclass
class Run:
    """A run's record. Times are seconds since 1970. `folder` is where it lives.

    pid, pid_started, host, process_space: its driver, as genpipe.processes tells processes apart.
    store: the address that has what is not in the workspace, where the run had a store.
    """

    folder: Path
    id: str
    recipe: str
    seed: int = 0
    status: str = RUNNING
    started: float = 0.0
    ended: float | None = None
    pid: int = 0
    pid_started: int = 0
    host: str = ""
    process_space: str = ""
    error: str | None = None
    store: str | None = None
    steps: dict[str, StepRecord] = field(default_factory=dict)

    @classmethod
    def create(
        cls, workspace: Workspace, recipe: str, resolved: Mapping[str, Any], steps: dict[str, StepRecord]
    ) -> Run:
        began = time.time_ns()
        now = began / 1e9
        name = recipe.replace(os.sep, "-")[:MAX_NAME_LENGTH]
        with disk_errors_named(workspace.root):
            folder = _new_folder(workspace.runs, f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{name}")
        run = cls(
            folder,
            folder.name,
            recipe,
            seed=int(resolved.get("seed", 0)),
            started=now,
            pid=os.getpid(),
            pid_started=process_start(os.getpid()),
            host=socket.gethostname(),
            process_space=process_space(),
            store=workspace.store.address if workspace.store else None,
            steps=steps,
        )
        import yaml

        write_atomically(folder / "recipe.yaml", yaml.safe_dump(dict(resolved), sort_keys=False))
        os.utime(folder / "recipe.yaml", ns=(began, began))  # more exact than the clock of the kernel's own stamps
        run.save()
        return run

    def save(self) -> None:
        record = {k: v for k, v in asdict(self).items() if k != "folder"}
        record["error"] = redacted(self.error) if self.error else None
        write_atomically(self.folder / "run.json", json.dumps(record, indent=1))

    @classmethod
    def read(cls, folder: Path) -> Run:
        """UsageError where the record is damaged."""
        path = folder / "run.json"
        try:
            record = json.loads(path.read_text())
            known = {f.name for f in fields(cls)}
            steps = {name: StepRecord(**step) for name, step in record.pop("steps").items()}
            return cls(folder=folder, steps=steps, **{k: v for k, v in record.items() if k in known})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{path} is damaged: {type(error).__name__}: {error}") from None

    @property
    def workspace(self) -> Path:
        """Root of the workspace that the run is in."""
        return self.folder.parent.parent

    def log(self, step: str) -> Path:
        return self.folder / "steps" / f"{step}.log"

    def progress(self, step: str) -> Path:
        return self.folder / "steps" / f"{step}.progress.jsonl"

    def artifact(self, step: str) -> Path:
        """The folder of a finished step's artifact, fetched from the run's store where it is not here."""
        record = self.steps.get(step)
        if record is None:
            raise UsageError(f"run {self.id} has no step '{step}'{nearest(step, self.steps)}")
        path = self.workspace / record.artifact
        if path.exists():
            return path
        if self._has(record) and self.store is not None:
            from genpipe.stores import Store, StoredFolder

            stored = StoredFolder(Store.at(self.store), record.artifact)
            return stored.bring(path, Workspace(self.workspace).scratch(record.key))
        raise UsageError(f"step '{step}' of run {self.id} has no artifact: its status is {record.status}")

    def _has(self, record: StepRecord) -> bool:
        in_store = self.store is not None and record.status in (CACHED, FINISHED)
        return in_store or (self.workspace / record.artifact).exists()

    def of_kind(self, kind: str) -> list[tuple[str, Path]]:
        """Finished artifacts of a kind ("model", "samples", "report", …) with their steps.

        Those that only the store has are not fetched: `artifact` does that.
        """
        found = [(name, self.workspace / step.artifact) for name, step in self.steps.items() if self._has(step)]
        return [(name, path) for name, path in found if path.parent.name == kind]

    def whole_of_kind(self, kind: str) -> list[tuple[str, Path]]:
        """Those of a kind that no other of that kind is made of: of a model with its parts the model alone."""
        found = self.of_kind(kind)
        if len(found) < 2:
            return found
        workspace = Workspace(self.workspace)
        inputs = [find_manifest(path, workspace).key_parts.get("inputs", {}).values() for _, path in found]
        parts = {key for keys in inputs for key in keys}
        return [(name, path) for name, path in found if self.steps[name].key not in parts]

    def one(self, kind: str) -> Path:
        """The artifact of a kind, where the run has exactly one; what another of that kind is made of does not count."""
        found = self.whole_of_kind(kind)
        if len(found) == 1:
            return self.artifact(found[0][0])
        if not found:
            raise UsageError(f"run {self.id} ({self.status}) has no {kind}")
        raise UsageError(
            f"run {self.id} has several of {kind}: name one of {', '.join(f'{self.id}:{n}' for n, _ in found)}"
        )

    @property
    def report(self) -> Path:
        """The report's HTML file."""
        return self.one("report") / "report.html"

    @property
    def table(self) -> Table:
        """The evaluation's table."""
        return Table.read(self.one("evaluation") / "table.json")

    def __repr__(self) -> str:
        return f"Run({self.id}, {self.status})"


def all_runs(workspace: Workspace) -> Iterator[Run]:
    """Runs of a workspace, newest first. A folder without a record is a run that never began."""
    folders = sorted(workspace.runs.iterdir(), key=by_age) if workspace.runs.is_dir() else []
    for folder in reversed(folders):
        try:
            yield Run.read(folder)
        except OSError:
            continue
        except UsageError as error:
            logger.warning("%s; the run is passed over", error)


def _new_folder(runs: Path, beginning: str) -> Path:
    """A run's folder, under an id that no other run of the same second has."""
    runs.mkdir(parents=True, exist_ok=True)
    while True:
        folder = runs / f"{beginning}-{secrets.token_hex(2)}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            (folder / "steps").mkdir()
            return folder


def by_age(folder: Path) -> tuple[str, int, str]:
    """Orders the folders of runs by the second in their id, and within one by the time that their recipe bears."""
    recipe = folder / "recipe.yaml"
    return folder.name[:SECOND], recipe.stat().st_mtime_ns if recipe.exists() else 0, folder.name


def find_run(workspace: Workspace, reference: str) -> Run:
    """A run by its id, the unique beginning or end of one, its recipe's name (the newest), its folder, or "last"."""
    folder = Path(reference)
    if os.path.isfile(folder / "run.json"):  # false also for what is too long for a path
        return Run.read(folder.absolute())
    runs = list(all_runs(workspace))
    if not runs:
        raise UsageError(f"workspace {workspace.root} has no runs yet")
    if reference == "last":
        return runs[0]
    for run in runs:
        if run.id == reference or run.recipe == reference:
            return run
    close = [run for run in runs if run.id.startswith(reference) or run.id.endswith(reference)]
    if len(close) == 1:
        return close[0]
    hint = f"; it begins or ends {len(close)} runs" if close else nearest(reference, [r.id for r in runs])
    raise UsageError(f"there is no run '{reference}' in {workspace.root}{hint} (`genpipe runs` lists them)")
