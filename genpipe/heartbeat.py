"""A run's sign of life for readers on other hosts: a file with a count that rises while its driver lives.

No clock of the driver's is read, so clocks that disagree or jump mean nothing: what counts is whether it moves.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

BEAT_SECONDS = 3.0
WATCH_SECONDS = 15.0
DOUBT_SECONDS = 120.0

FILE = "heartbeat"


@contextlib.contextmanager
def beating(folder: Path) -> Iterator[None]:
    """Writes the heartbeat of a run's folder from a thread, and removes it in the end."""
    path, ended = folder / FILE, threading.Event()
    _beat(path, 0)

    def beat() -> None:
        count = 0
        while not ended.wait(BEAT_SECONDS):
            count += 1
            _beat(path, count)

    thread = threading.Thread(target=beat, daemon=True, name="heartbeat")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _beat(path: Path, count: int) -> None:
    with contextlib.suppress(OSError):  # a full disk or a store that is away for a while must not end a run
        path.write_text(f"{count}\n")


def is_doubtful(folder: Path) -> bool:
    """Whether a heartbeat is missing, or its time far from now: long ago, or a clock was set in between."""
    try:
        return abs(time.time() - (folder / FILE).stat().st_mtime) > DOUBT_SECONDS
    except OSError:
        return True


def stand_still(folders: Sequence[Path]) -> list[Path]:
    """Those of some runs' folders whose heartbeat does not move for WATCH_SECONDS, which this takes if there are any."""
    counts = {folder: _read(folder) for folder in folders}
    ends = time.monotonic() + WATCH_SECONDS
    while counts and time.monotonic() < ends:
        time.sleep(0.2)
        counts = {folder: count for folder, count in counts.items() if _read(folder) == count}
    return list(counts)


def _read(folder: Path) -> str | None:
    try:
        return (folder / FILE).read_text()
    except OSError:
        return None
