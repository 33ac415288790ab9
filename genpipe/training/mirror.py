"""A training's checkpoints in a store: uploaded behind the training's back, found again by another machine."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from types import TracebackType

from genpipe.artifacts import MANIFEST
from genpipe.errors import ArtifactError, StoreError
from genpipe.stores import StoredFolder

log = logging.getLogger("genpipe.stores")

CLOSE_SECONDS = 30.0


class Mirror:
    """Uploads published checkpoints from a thread, one at a time, the newest first; keeps the newest `num_kept` there.

    A checkpoint's files never change, so that what is uploaded is what training had at its step, however far it is by
    then. Training never waits and never stops for the store: an upload that fails is said once, and the next
    checkpoint is tried; where another is finished before the last one is there, those between are left out.
    """

    def __init__(self, stored: StoredFolder, num_kept: int) -> None:
        self._stored, self._num_kept = stored, num_kept
        self._there: set[str] = set()
        self._next: Path | None = None
        self._sending: Path | None = None
        self._failed = False
        self._closing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def list(self) -> list[str]:
        """Names of the checkpoints there, newest first; what an upload left that was broken off is removed."""
        sizes = self._stored.store.sizes(self._stored.path)
        names = {path.partition("/")[0] for path in sizes}
        self._there = {name for name in names if f"{name}/{MANIFEST}" in sizes}
        for name in names - self._there:
            self._remove(name)
        return sorted(self._there, reverse=True)

    def fetch(self, name: str, final: Path) -> None:
        """Brings a checkpoint here; ArtifactError where it is torn, and is removed there."""
        try:
            self._at(name).fetch(final)
        except ArtifactError:
            self._there.discard(name)
            raise

    def send(self, checkpoint: Path) -> None:
        """Has a checkpoint uploaded as soon as the one before is."""
        with self._changed:
            self._next = checkpoint
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True, name="checkpoints")
                self._thread.start()
            self._changed.notify_all()

    def arrive(self) -> None:
        """Waits until the last checkpoint is there, or has failed: for one that another machine goes on from."""
        with self._changed:
            self._changed.wait_for(lambda: self._next is None and self._sending is None)

    def needs(self, checkpoint: Path) -> bool:
        """Whether a local checkpoint is still to be uploaded, or is on its way."""
        with self._changed:
            return checkpoint in (self._next, self._sending)

    def __enter__(self) -> Mirror:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives the last checkpoint time to arrive, unless the process is asked to stop at once."""
        at_once = kind is not None and not issubclass(kind, Exception)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(0 if at_once else CLOSE_SECONDS)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._sending = None
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._next is not None or self._closing)
                if self._next is None:
                    return
                self._sending, self._next = self._next, None
                checkpoint = self._sending
            self._upload(checkpoint)

    def _upload(self, checkpoint: Path) -> None:
        try:
            self._at(checkpoint.name).send(checkpoint, replace=True)
        except (StoreError, ArtifactError, OSError) as error:
            if not self._failed:
                log.warning("%s was not uploaded (%s); training goes on, and the next one is tried", checkpoint, error)
            self._failed = True
            return
        if self._failed:
            log.info("checkpoints are uploaded again, from %s on", checkpoint)
        self._failed = False
        self._there.add(checkpoint.name)
        for old in sorted(self._there, reverse=True)[self._num_kept :]:
            self._remove(old)

    def _remove(self, name: str) -> None:
        try:
            self._at(name).discard()
        except StoreError as error:
            log.info("an old checkpoint is left: %s", error)
        self._there.discard(name)

    def _at(self, name: str) -> StoredFolder:
        return StoredFolder(self._stored.store, f"{self._stored.path}/{name}")
