"""When workers compare notes, and when a checkpoint is due."""

from __future__ import annotations

import time

from genpipe.training.group import Group

CHECKPOINT_SECONDS = 20.0
MEETING_SECONDS = 2.0


class Pace:
    """A clock by which all workers of a group come to the same decisions.

    They meet at steps that they all know beforehand, about every two seconds of work, and take the slowest one's
    seconds for everybody's. A worker alone reads its own clock whenever it likes.
    checkpoint_every: steps between checkpoints, or None for one about every 20 seconds.
    """

    def __init__(self, group: Group, checkpoint_every: int | None) -> None:
        self.group, self.checkpoint_every = group, checkpoint_every
        self.saved = self._met = time.monotonic()
        self._seconds = 0.0  # by the shared clock, since the last checkpoint
        self._met_step: int | None = None
        self._next = 0

    def meets(self, done: int) -> bool:
        """Whether the workers compare notes after `done` steps, log or no log."""
        return self.group.size > 1 and done >= self._next

    def meet(self, done: int) -> None:
        """Called by all workers at once; reckons when to meet again."""
        if self.group.size == 1:
            return
        now = time.monotonic()
        seconds = self.group.largest([int(1e6 * (now - self._met))])[0] / 1e6
        steps = done - self._met_step if self._met_step is not None else 1
        self._next = done + max(1, int(MEETING_SECONDS * max(steps, 1) / max(seconds, 1e-6)))
        self._seconds += seconds
        self._met, self._met_step = now, done

    def is_due(self, done: int) -> bool:
        """Whether to write a checkpoint: a synced one costs as much as many steps of a small model."""
        if self.checkpoint_every is not None:
            return done % self.checkpoint_every == 0
        if self.group.size > 1:
            return self._seconds > CHECKPOINT_SECONDS
        return time.monotonic() - self.saved > CHECKPOINT_SECONDS

    def wrote(self) -> None:
        self.saved, self._seconds = time.monotonic(), 0.0
