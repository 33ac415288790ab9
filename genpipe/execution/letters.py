"""What steps on machines that do not see the run's folder write to their logs and progress files, brought to the driver.

An actor of the run holds what has come until the driver takes it. Files that grow on another machine are followed there
by a thread; so everything else is as where the folder is shared: workers append to files, and the driver follows them.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray

from genpipe.stores import Site

logger = logging.getLogger("genpipe")

INTERVAL_SECONDS = 0.5
ANSWER_SECONDS = 15.0
MAX_LETTER_BYTES = 2**20


class Letters:
    """The actor: pieces of files, each with its file's path relative to the run's folder."""

    def __init__(self) -> None:
        self._letters: list[tuple[str, bytes]] = []

    def put(self, path: str, content: bytes) -> None:
        self._letters.append((path, content))

    def take(self) -> list[tuple[str, bytes]]:
        taken, self._letters = self._letters, []
        return taken


class LetterBox:
    """The driver's side, for one run."""

    def __init__(self, site: Site) -> None:
        self._folder = Path(site.run)
        actor: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Letters)
        self.actor = actor.remote()
        self._asked: Any = None

    def empty(self, *, wait: bool = False) -> None:
        """Appends what has come to the files it belongs to; wait: all that has come by now."""
        if self._asked is None:
            self._asked = self.actor.take.remote()
        try:
            if wait:
                self._open(ray.get(self._asked, timeout=ANSWER_SECONDS))
                self._open(ray.get(self.actor.take.remote(), timeout=ANSWER_SECONDS))
            elif ray.wait([self._asked], timeout=0)[0]:
                self._open(ray.get(self._asked))
            else:
                return
        except ray.exceptions.RayError as error:  # a node was lost: so are a few lines of its steps' logs
            logger.info("lines of logs were lost: %s", str(error).partition("\n")[0])
        self._asked = None

    def _open(self, letters: Sequence[tuple[str, bytes]]) -> None:
        for path, content in letters:
            file = self._folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("ab") as end:
                end.write(content)

    def close(self) -> None:
        with contextlib.suppress(Exception):  # Ray may be gone already
            ray.kill(self.actor)


@contextlib.contextmanager
def reaching_the_driver(
    site: Site, log: Path, progress: Path | None = None, *, name: str | None = None
) -> Iterator[tuple[Path, Path | None]]:
    """Files of this machine for a process's log and progress, whose content reaches the driver.

    site, log, progress: as they were given to this process. Where the run's folder is seen, the files are those. Else
    they are this machine's own, and what is appended is sent; name: of a process that shares the machine with others
    like it, each of which needs a log of its own.
    """
    if site.is_seen:
        yield log, progress
        return
    log, progress = site.path(log), progress and site.path(progress)
    if name is not None:
        log = log.with_name(f"{log.stem}.{socket.gethostname()}-{name}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    if site.letters is None:
        yield log, progress
        return
    sender = _Sender(site.seen_from_here(), [log, progress] if progress else [log])
    sender.start()
    try:
        yield log, progress
    finally:
        sender.stop()


class _Sender:
    def __init__(self, site: Site, files: Sequence[Path]) -> None:
        self._folder = Path(site.run)
        self._offsets = {file: file.stat().st_size if file.exists() else 0 for file in files}
        self._box = site.letters
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True, name="letters")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Sends the rest, and waits until it has arrived."""
        self._ended.set()
        self._thread.join(ANSWER_SECONDS)

    def _follow(self) -> None:
        try:
            while not self._ended.wait(INTERVAL_SECONDS):
                self._send()
            last = self._send()
            if last is not None:
                ray.get(last, timeout=ANSWER_SECONDS)
        except (ray.exceptions.RayError, OSError) as error:
            logger.warning("this log could not be sent to the driver: %s", str(error).partition("\n")[0])

    def _send(self) -> Any:
        """Sends what is new; the answer to the last letter, None where there was none."""
        last = None
        for file in self._offsets:
            while content := self._read(file):
                last = self._box.put.remote(file.relative_to(self._folder).as_posix(), content)
        return last

    def _read(self, file: Path) -> bytes:
        if not file.exists():
            return b""
        with file.open("rb") as beginning:
            beginning.seek(self._offsets[file])
            content = beginning.read(MAX_LETTER_BYTES)
        self._offsets[file] += len(content)
        return content
