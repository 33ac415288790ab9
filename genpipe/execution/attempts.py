"""Whether a step whose process died is worth another attempt."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from genpipe.artifacts import MANIFEST, STAGING_PREFIX
from genpipe.errors import StoreError
from genpipe.stores import StoredFolder

logger = logging.getLogger("genpipe.stores")

MAX_DEATHS = 3


class Attempts:
    """Counts a step's deaths in a row without progress: a file that is new in its scratch folder or grew, or that the
    store was sent.

    What is not kept there is lost with the process, however far it got, so it counts for nothing.
    """

    def __init__(self, scratch: Path, stored: StoredFolder | None = None) -> None:
        self._scratch, self._stored = scratch, stored
        self._seen = self._kept_here()  # what the store has is looked at where somebody dies
        self.deaths = 0
        self.in_a_row = 0

    def died(self) -> bool:
        """Notes a death; whether the step may be started again."""
        kept = self._kept()
        self.deaths += 1
        self.in_a_row = 1 if kept - self._seen else self.in_a_row + 1
        self._seen |= kept
        return self.in_a_row < MAX_DEATHS

    @property
    def has_kept(self) -> bool:
        """Whether there is something, such as a checkpoint, that it may go on from."""
        return bool(self._kept())

    def _kept(self) -> set[tuple[str, int]]:
        return self._kept_here() | self._kept_there()

    def _kept_here(self) -> set[tuple[str, int]]:
        """Files and their sizes."""
        found = set()
        for path in self._scratch.rglob("*"):
            below = path.relative_to(self._scratch)
            with contextlib.suppress(OSError):  # it may be going
                if not any(part.startswith(STAGING_PREFIX) for part in below.parts):
                    found.add((str(below), path.stat().st_size if path.is_file() else 0))
        return found

    def _kept_there(self) -> set[tuple[str, int]]:
        """Checkpoints by another machine, whose folder is not seen here."""
        if self._stored is None:
            return set()
        try:
            names = self._stored.store.sizes(self._stored.path)
        except StoreError as error:
            logger.warning("%s; what a step kept there counts for nothing", error)
            return set()
        return {(name, size) for name, size in names.items() if name.endswith(f"/{MANIFEST}")}
