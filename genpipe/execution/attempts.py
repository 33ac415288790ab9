"""Whether a step whose process died is worth another attempt."""

from __future__ import annotations

import contextlib
from pathlib import Path

from genpipe.artifacts import STAGING_PREFIX

MAX_DEATHS = 3


class Attempts:
    """Counts a step's deaths in a row without progress; progress is a file that is new in its scratch folder, or grew.

    What is not kept there is lost with the process, however far it got, so it counts for nothing.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._seen = self._kept()
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
        """Files and their sizes."""
        found = set()
        for path in self._scratch.rglob("*"):
            below = path.relative_to(self._scratch)
            with contextlib.suppress(OSError):  # it may be going
                if not any(part.startswith(STAGING_PREFIX) for part in below.parts):
                    found.add((str(below), path.stat().st_size if path.is_file() else 0))
        return found
