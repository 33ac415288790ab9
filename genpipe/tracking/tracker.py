"""Keeps MLflow up to date while a run goes on, from a thread of the driver, without ever holding the run up."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from genpipe.errors import GenpipeError
from genpipe.hookspecs import hookimpl
from genpipe.runs import Run
from genpipe.tracking.mlflow_sender import Cursor, Sender, make_client, sole_sender, unsent
from genpipe.workspace import Workspace

logger = logging.getLogger("genpipe")

POLL_SECONDS = 0.5
RETRY_SECONDS = 5.0
CLOSE_SECONDS = 20.0
STALLED_SECONDS = 5.0
MAX_ERROR_LENGTH = 160


class Tracker:
    """Sends the journals of a workspace to `uri` in the background. Slow to start, so start it early."""

    def __init__(self, uri: str, workspace: Workspace) -> None:
        self.uri, self._workspace = uri, workspace
        self._folders: list[Path] = []
        self._backlog: list[Path] | None = None  # journals that earlier runs could not send
        self._client: tuple[Any, str] | None = None
        self._ending = threading.Event()
        self._warned = False
        self.problem: str | None = None
        self._remote = not uri.startswith("sqlite")
        self._moved = math.inf  # when the tracker last took something, from its first request on
        self._thread = threading.Thread(target=self._work, daemon=True, name="tracker")

    def start(self) -> None:
        self._thread.start()

    @hookimpl
    def run_started(self, run: Run) -> None:
        self.follow(run.folder)

    def follow(self, folder: Path) -> None:
        """Sends the journal in a folder too, as it grows."""
        Cursor.begin(folder, self.uri)
        self._folders.append(folder)

    def close(self) -> None:
        """Gives the tracker time to take the rest, as long as it keeps taking; what is left stays in the journal."""
        self._ending.set()
        began = time.monotonic()
        while self._thread.is_alive() and time.monotonic() < began + CLOSE_SECONDS:
            self._thread.join(0.05)
            is_starting = self._moved == math.inf and self.problem is None  # the import of MLflow takes seconds
            since = math.inf if is_starting else max(began, self._moved if self._moved < math.inf else began)
            if (self.problem is not None or self._remote) and time.monotonic() - since > STALLED_SECONDS:
                break
        if self._thread.is_alive():
            self._warn("it does not answer")

    def _work(self) -> None:
        last = False
        while True:
            try:
                self._send_all()
                self.problem = None
                if self._ending.is_set():
                    self._send_all()  # what was written after the look above and before the end
                    return
                self._ending.wait(POLL_SECONDS)
            except Exception as error:  # whatever a tracker, a driver or a network may raise: it must not reach the run
                self._warn(in_a_line(error))
                if last:
                    return
                last = self._ending.wait(RETRY_SECONDS)  # it may be back by the end of the run

    def _send_all(self) -> None:
        client, experiment = self._connect()
        if self._backlog is None:
            self._backlog = [f for f in unsent(self._workspace) if Cursor.read(f).uri == self.uri]
        while self._backlog:
            self._send(client, experiment, self._backlog[0])
            self._backlog.pop(0)
        for folder in list(self._folders):
            self._send(client, experiment, folder)

    def _send(self, client: Any, experiment: str, folder: Path) -> None:
        with sole_sender(folder) as alone:
            if alone:
                Sender(client, experiment, self.uri, folder, self._note_move).send()

    def _note_move(self) -> None:
        self._moved = time.monotonic()

    def _connect(self) -> tuple[Any, str]:
        if self._client is None:
            self._client = make_client(self.uri, self._workspace.tracking_artifacts, self._note_move)
            self._note_move()
        return self._client

    def _warn(self, problem: str) -> None:
        self.problem = problem
        if not self._warned:
            self._warned = True
            logger.warning(
                "the tracker at %s is not taking runs (%s); nothing is lost: `genpipe track sync` sends them later",
                self.uri,
                problem,
            )


def in_a_line(error: BaseException) -> str:
    """The kind of an error and the beginning of its text; network errors go on for pages."""
    text = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {text if len(text) <= MAX_ERROR_LENGTH else text[:MAX_ERROR_LENGTH] + '…'}"


@contextmanager
def warm(tracker: Tracker | None) -> Iterator[None]:
    """Starts the tracker's thread, so that a store's first migration overlaps with the executor's start."""
    if tracker is None:
        yield
        return
    tracker.start()
    try:
        yield
    finally:
        tracker.close()


def sync(workspace: Workspace, uri: str | None = None) -> list[str]:
    """Sends every journal that was not fully sent, to `uri` or to where it was meant to go; gives the runs' ids.

    One that a tracker refuses does not keep the others: GenpipeError names those, once the rest is sent. Raises what
    the tracker raises where it cannot be reached at all.
    """
    clients: dict[str, tuple[Any, str]] = {}
    sent, refused = [], []
    for folder in list(unsent(workspace)):
        target = uri or Cursor.read(folder).uri or workspace.tracking_uri
        if target not in clients:
            clients[target] = make_client(target, workspace.tracking_artifacts)
        client, experiment = clients[target]
        with sole_sender(folder) as alone:
            try:
                if alone and Sender(client, experiment, target, folder).send():
                    sent.append(folder.name)
            except Exception as error:  # whatever the tracker makes of this one journal
                refused.append(f"{folder.name} was not taken by {target}: {in_a_line(error)}")
    if refused:
        raise GenpipeError("\n".join([*refused, f"{len(sent)} others were sent"]))
    return sent
