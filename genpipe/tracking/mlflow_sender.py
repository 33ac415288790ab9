"""Sends a run's journal to MLflow, from where it last stopped. Sending twice gives the same runs.

Uses `MlflowClient` with explicit run ids: the fluent calls keep state per thread.
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any

from genpipe.artifacts import write_atomically
from genpipe.runs import by_age
from genpipe.tracking.journal import read_events
from genpipe.tracking.store import make_store
from genpipe.workspace import Workspace

logger = logging.getLogger("genpipe")

EXPERIMENT = "genpipe"
CURSOR = "tracking.json"
RUN_TAG = "genpipe.run"
STEP_TAG = "genpipe.step"
MAX_PARAMETER_LENGTH = 500
METRICS_PER_CALL = 1000
MAX_FILE_BYTES = 20 * 2**20
PICTURES_AND_TABLES = (".png", ".html", ".csv", ".json", ".jsonl")
STATUS = {"FINISHED": "FINISHED", "FAILED": "FAILED", "KILLED": "KILLED"}

_filtering = threading.Lock()


def make_client(uri: str, artifacts: Path | None, imported: Callable[[], None] = lambda: None) -> tuple[Any, str]:
    """A client and the id of the experiment. Creates the store, or raises what MLflow raises where it is down.

    imported: called between the import of MLflow, which takes seconds, and the first request.
    """
    # A tracker that is down must be noticed in seconds, not after MLflow's minutes of retries.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    with _without_warnings():
        from mlflow import MlflowClient

        for name in ("alembic", "mlflow", "urllib3"):
            logging.getLogger(name).setLevel(logging.ERROR)
    imported()
    with _without_warnings() if uri.startswith("sqlite") else nullcontext():
        make_store(uri, lambda new: MlflowClient(tracking_uri=new).search_experiments(max_results=1))
        client = MlflowClient(tracking_uri=uri)
        return client, _experiment(client, artifacts.as_uri() if uri.startswith("sqlite") and artifacts else None)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Nobody is told of deprecations inside MLflow's own dependencies.

    Filters are the whole process's, so one thread at a time changes them, and none while it waits for a network.
    """
    with _filtering, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _experiment(client: Any, location: str | None) -> str:
    """The id of the experiment, made where it is not there."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        try:
            return str(client.create_experiment(EXPERIMENT, artifact_location=location))
        except MlflowException:
            experiment = client.get_experiment_by_name(EXPERIMENT)  # another driver made it in between
            if experiment is None:
                raise
    return str(experiment.experiment_id)


def unsent(workspace: Workspace) -> Iterator[Path]:
    """Folders whose journal has more than was sent: of sweeps, since their trials go below them, and of runs, oldest first."""
    places = [place for place in (workspace.sweeps, workspace.runs) if place.is_dir()]
    for folder in [folder for place in places for folder in sorted(place.iterdir(), key=by_age)]:
        journal = folder / "events.jsonl"
        if journal.exists() and Cursor.read(folder).offset < journal.stat().st_size:
            yield folder


class Cursor:
    """How far a journal was sent, and the MLflow runs made for it."""

    def __init__(self, folder: Path, record: dict[str, Any]) -> None:
        self._folder = folder
        self.uri: str | None = record.get("uri")
        self.offset: int = record.get("offset", 0)
        self.run_id: str | None = record.get("run_id")
        self.steps: dict[str, str] = record.get("steps", {})  # or groups of steps, by their name
        self.members: dict[str, Any] = record.get("members", {})  # of steps: their group, and whether they are its last
        self.sweep: str | None = record.get("sweep")  # that the run is a trial of

    @classmethod
    def read(cls, folder: Path) -> Cursor:
        path = folder / CURSOR
        try:
            return cls(folder, dict(json.loads(path.read_text())) if path.exists() else {})
        except (ValueError, TypeError):
            logger.warning("%s is damaged: the journal beside it is sent again from its beginning", path)
            path.unlink(missing_ok=True)
            return cls(folder, {})

    @classmethod
    def begin(cls, folder: Path, uri: str) -> None:
        """Notes where a run's journal is to go, before anything is sent."""
        cursor = cls.read(folder)
        if cursor.uri is None:
            cursor.uri = uri
            cursor.save()

    def save(self) -> None:
        record = {
            "uri": self.uri,
            "offset": self.offset,
            "run_id": self.run_id,
            "steps": self.steps,
            "members": self.members,
            "sweep": self.sweep,
        }
        write_atomically(self._folder / CURSOR, json.dumps(record, indent=1))


@contextmanager
def sole_sender(folder: Path) -> Iterator[bool]:
    """Whether this process alone sends this run's journal."""
    with (folder / f"{CURSOR}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


class Sender:
    """Sends one run's journal. `send` may be called again and again as the journal grows."""

    def __init__(
        self, client: Any, experiment_id: str, uri: str, folder: Path, moved: Callable[[], None] = lambda: None
    ) -> None:
        """moved: called whenever the tracker took something."""
        self._client, self._experiment, self._folder, self._moved = client, experiment_id, folder, moved
        self._cursor = Cursor.read(folder)
        if self._cursor.uri not in (None, uri):
            # another tracker is asked for than the one that has the beginning: it gets the whole story
            self._cursor = Cursor(folder, {})
        self._cursor.uri = uri
        self._told = False

    def send(self) -> bool:
        """Sends what is new; whether there was anything. The cursor moves only past what was taken."""
        events, offset = read_events(self._folder, self._cursor.offset)
        metrics: dict[str, list[Any]] = {}
        for event in events:
            if self._cursor.run_id is None and event["event"] != "run_started":
                self._tell_of_lost_beginning()
                continue
            if event["event"] == "metrics":
                self._collect(event, metrics)
                continue
            self._send_metrics(metrics)
            getattr(self, f"_{event['event']}")(event)
            self._moved()
        self._send_metrics(metrics)
        if events:
            self._cursor.offset = offset
            self._cursor.save()
        return bool(events)

    def _tell_of_lost_beginning(self) -> None:
        if not self._told:
            self._told = True
            logger.warning("the journal in %s lost its beginning, without which the rest cannot be sent", self._folder)

    def _collect(self, event: dict[str, Any], metrics: dict[str, list[Any]]) -> None:
        from mlflow.entities import Metric

        milliseconds = int(event["at_time"] * 1000)
        metrics.setdefault(event["step"], []).extend(
            Metric(_metric_name(self._shown(event["step"], name)), value, milliseconds, event["at"])
            for name, value in event["metrics"].items()
        )

    def _shown(self, step: str, name: str) -> str:
        """A trial and a group have no runs below them for steps, since the UI shows two levels: numbers are their own."""
        if self._cursor.sweep is not None:
            return f"{step}.{name}"
        return f"{self._cursor.members[step]['stage']}.{name}" if step in self._cursor.members else name

    def _send_metrics(self, metrics: dict[str, list[Any]]) -> None:
        for step, points in metrics.items():
            for start in range(0, len(points), METRICS_PER_CALL):
                child = self._child(step, points[0].timestamp / 1000)
                self._client.log_batch(child, metrics=points[start : start + METRICS_PER_CALL])
                self._moved()
        metrics.clear()

    def _find_or_create(self, tag: str, value: str, name: str, time: float, tags: dict[str, str]) -> str:
        """The run that carries a tag: made before a crash between making it and saving the cursor, or now."""
        clause = (
            f"tags.`{RUN_TAG}` = '{self._folder.name}' AND tags.`{STEP_TAG}` = '{value if tag == STEP_TAG else ''}'"
        )
        if (found := self._found(clause)) is not None:
            return found
        tags = {RUN_TAG: self._folder.name, STEP_TAG: value if tag == STEP_TAG else "", **tags}
        run = self._client.create_run(self._experiment, start_time=int(time * 1000), run_name=name, tags=tags)
        return str(run.info.run_id)

    def _found(self, clause: str) -> str | None:
        found = self._client.search_runs([self._experiment], clause, max_results=1)
        return str(found[0].info.run_id) if found else None

    def _run_started(self, event: dict[str, Any]) -> None:
        facts = dict(event["facts"])
        self._cursor.sweep = facts.get("sweep")
        packages = facts.pop("packages", {})
        tags = {f"genpipe.{k}": str(v) for k, v in facts.items()}
        tags |= {f"genpipe.version.{name}": version for name, version in packages.items()}
        tags["genpipe.recipe"] = event["recipe"]
        tags["mlflow.user"] = str(facts.get("user", ""))
        if "git_commit" in facts:
            tags["mlflow.source.git.commit"] = facts["git_commit"]
        tags["mlflow.source.name"] = "genpipe"
        if self._cursor.sweep is not None:
            parent = self._found(f"tags.`{RUN_TAG}` = '{self._cursor.sweep}' AND tags.`{STEP_TAG}` = ''")
            tags |= {"mlflow.parentRunId": parent} if parent is not None else {}
        name = event["name"].split("-", 2)[
            -1
        ]  # the id without its date, which the UI has a column for; find_run takes it
        self._cursor.run_id = self._find_or_create(RUN_TAG, "", name, event["started"], tags)
        self._cursor.save()
        self._log_parameters(self._cursor.run_id, event["parameters"])
        self._log_file(self._cursor.run_id, self._folder / "recipe.yaml")
        self._client.log_dict(self._cursor.run_id, {**facts, "packages": packages}, "environment.json")

    def _log_parameters(self, run_id: str, parameters: dict[str, Any]) -> None:
        from mlflow.entities import Param

        there = self._client.get_run(run_id).data.params
        # the whole recipe is an artifact; a value that MLflow would cut is told from there
        new = [
            Param(k, str(v)[:MAX_PARAMETER_LENGTH])
            for k, v in parameters.items()
            if k not in there and v not in ("", None)
        ]
        for start in range(0, len(new), 100):
            self._client.log_batch(run_id, params=new[start : start + 100])

    def _step_started(self, event: dict[str, Any]) -> None:
        member = event.get("member")
        if member is not None and self._cursor.sweep is None:
            self._cursor.members[event["step"]] = {
                "group": member["group"],
                "stage": event["stage"],
                "is_last": member["is_last"],
            }
            child = self._child(event["step"], event["time"], {"genpipe.group": member["group"]})
            self._log_parameters(child, member["parameters"])
            self._client.set_tag(child, f"genpipe.key.{event['stage']}", event["key"])
            return
        tags = {"genpipe.stage": event["stage"], "genpipe.key": event["key"]}
        self._child(event["step"], event["time"], {**tags, "genpipe.cached": str(event["cached"]).lower()})

    def _child(self, step: str, time: float, tags: Mapping[str, str] = MappingProxyType({})) -> str:
        """The MLflow run of a step or of the group that it is in, made where the journal speaks of it first."""
        assert self._cursor.run_id is not None
        if self._cursor.sweep is not None:
            return self._cursor.run_id
        name = self._cursor.members[step]["group"] if step in self._cursor.members else step
        if name not in self._cursor.steps:
            tags = {"mlflow.parentRunId": self._cursor.run_id, **tags}
            self._cursor.steps[name] = self._find_or_create(STEP_TAG, name, name, time, tags)
            self._cursor.save()
        return self._cursor.steps[name]

    def _step_notice(self, event: dict[str, Any]) -> None:
        self._client.set_tag(self._child(event["step"], event["time"]), "genpipe.notice", event["text"][:5000])

    def _step_finished(self, event: dict[str, Any]) -> None:
        from mlflow.entities import Metric

        child, parent = self._child(event["step"], event["time"]), self._cursor.run_id
        member = self._cursor.members.get(event["step"])
        milliseconds = int(event["time"] * 1000)
        numbers = {"seconds": event["seconds"], **event["summary"].get("metrics", {})}
        finite = {
            name: float(value)
            for name, value in numbers.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        }
        if child != parent:
            numbers = {_metric_name(self._shown(event["step"], name)): value for name, value in finite.items()}
            self._client.log_batch(child, metrics=[Metric(k, v, milliseconds, 0) for k, v in numbers.items()])
        if member is None:  # so that runs compare in one table, as groups do by their own
            shown = {f"{event['step']}.{name}": value for name, value in finite.items()}
            metrics = [Metric(_metric_name(k), v, milliseconds, 0) for k, v in shown.items()]
            self._client.log_batch(parent, metrics=metrics)
        dataset = event["summary"].get("dataset")
        if dataset:
            self._log_dataset(parent, dataset)
        folder = Path(event["artifact"])
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if path.suffix in PICTURES_AND_TABLES and path.stat().st_size <= MAX_FILE_BYTES:
                self._log_file(child, path, None if member is None else member["stage"])
                if path.suffix in (".html", ".png") and event["summary"].get("show_in_run") and member is None:
                    self._log_file(parent, path)
        if child != parent and (member is None or member["is_last"]):
            self._client.set_terminated(child, "FINISHED", milliseconds)

    def _log_dataset(self, run_id: Any, dataset: dict[str, Any]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        entity = Dataset(
            name=str(dataset["name"]),
            digest=str(dataset.get("digest", ""))[:36],
            source_type="genpipe",
            source=json.dumps(dataset.get("source", {"dataset": dataset["name"]})),
            profile=json.dumps({k: v for k, v in dataset.items() if k not in ("name", "digest", "source")}),
        )
        self._client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])

    def _step_failed(self, event: dict[str, Any]) -> None:
        child = self._child(event["step"], event["time"])
        self._client.set_tag(child, "genpipe.error", event["error"][:5000])
        log = self._folder / "steps" / f"{event['step']}.log"
        if log.exists():
            self._log_file(child, log)
        if child != self._cursor.run_id:
            self._client.set_terminated(child, "FAILED", int(event["time"] * 1000))

    def _results(self, event: dict[str, Any]) -> None:
        """What a sweep came to: numbers, parameters and files, of the run itself."""
        from mlflow.entities import Metric

        run_id, milliseconds = self._cursor.run_id, int(event["time"] * 1000)
        numbers = [Metric(_metric_name(name), value, milliseconds, 0) for name, value in event["metrics"].items()]
        self._client.log_batch(run_id, metrics=numbers)
        for name, value in event["tags"].items():
            self._client.set_tag(run_id, f"genpipe.{name}", value)
        for name in event["files"]:
            if (self._folder / name).is_file():
                self._log_file(run_id, self._folder / name)

    def _run_finished(self, event: dict[str, Any]) -> None:
        milliseconds = int(event["time"] * 1000)
        for child in self._cursor.steps.values():
            if self._client.get_run(child).info.status == "RUNNING":
                self._client.set_terminated(child, event["status"], milliseconds)
        if event["error"]:
            self._client.set_tag(self._cursor.run_id, "genpipe.error", event["error"][:5000])
        self._client.set_terminated(self._cursor.run_id, STATUS[event["status"]], milliseconds)

    def _log_file(self, run_id: Any, path: Path, folder: str | None = None) -> None:
        self._client.log_artifact(run_id, str(path), folder)
        self._moved()


def _metric_name(name: str) -> str:
    """A column's name in the letters that MLflow takes: `copies [%]` becomes `copies percent`."""
    plain = "".join(c for c in name.replace("%", "percent") if c not in "()[],")
    return "".join(c if c.isalnum() or c in "_-./: " else "_" for c in plain)
