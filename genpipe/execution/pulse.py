"""A step's sign of life: given where it works, looked for where it is waited for.

A step lives if its process uses the processor or its progress file grows. One of which neither is true for long may wait
for what never comes: the stacks of its threads go to its log, and the driver says so, or stops it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

STALL_SECONDS = 600.0
LOOK_SECONDS = 2.0
BUSY_SHARE = 0.05  # of one processor: threads of Ray's and of this watch use less


@contextlib.contextmanager
def pulsing(progress: Path, log: TextIO, stall_seconds: float) -> Iterator[None]:
    """While the step works: raises a count in its pulse file as long as it lives, else dumps the stacks.

    The dump comes from a thread that needs no Python, so code that hangs and holds the interpreter is shown too.
    """
    ended = threading.Event()

    def look() -> None:
        count, before = 0, (-1, 0.0)
        while True:
            written, used = _size(progress), time.process_time()
            if written != before[0] or used - before[1] > BUSY_SHARE * LOOK_SECONDS:
                count += 1
                faulthandler.dump_traceback_later(stall_seconds, repeat=False, file=log)
                with contextlib.suppress(OSError):
                    _pulse_file(progress).write_text(f"{count}\n")
            before = (written, used)
            if ended.wait(LOOK_SECONDS):
                return

    thread = threading.Thread(target=look, daemon=True, name="pulse")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        faulthandler.cancel_dump_traceback_later()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _pulse_file(progress: Path) -> Path:
    return progress.with_name(progress.name.replace(".progress.jsonl", ".pulse"))


class Stalls:
    """The driver's look at the pulses of running steps; a step whose pulse is not to be seen from here counts as alive."""

    def __init__(self, stall_seconds: float) -> None:
        self._seconds = stall_seconds + 2 * LOOK_SECONDS  # the stacks come first
        self._seen: dict[Path, tuple[str, float]] = {}

    def watch(self, progress: Path) -> None:
        """From the moment that a step is given to the executor; it may have to wait there."""
        with contextlib.suppress(OSError):
            _pulse_file(progress).unlink(missing_ok=True)  # of an attempt before
        self._seen[progress] = ("", time.monotonic())

    def forget(self, progress: Path) -> None:
        self._seen.pop(progress, None)
        with contextlib.suppress(OSError):
            _pulse_file(progress).unlink(missing_ok=True)

    def found(self) -> list[Path]:
        """Progress files of steps without a sign of life for that long; each is told again only after as long again."""
        stalled = []
        for progress, (count, since) in self._seen.items():
            now = time.monotonic()
            try:
                seen = _pulse_file(progress).read_text()
            except OSError:
                continue
            if seen != count:
                self._seen[progress] = (seen, now)
            elif now - since > self._seconds:
                self._seen[progress] = (seen, now)
                stalled.append(progress)
        return stalled
