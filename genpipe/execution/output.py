"""Where a step's output goes: its process's own, its log records, and the warnings that its user should see."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def output_to(log: TextIO, *, redirect: bool) -> Iterator[None]:
    """Log records of this thread go to the log; where `redirect`, all that the process prints goes there too."""
    handler = logging.StreamHandler(log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    here = threading.get_ident()
    handler.addFilter(lambda record: record.thread == here)  # the driver's other threads have no part in a step
    root = logging.getLogger("genpipe")
    root.addHandler(handler)
    try:
        with _told_all(root), _descriptors_to(log) if redirect else contextlib.nullcontext():
            yield
    finally:
        root.removeHandler(handler)


class _told_all(contextlib.AbstractContextManager[None]):
    """A logger takes what is said for information too, until the last of those who want it has left."""

    _lock = threading.Lock()
    _num, _level = 0, logging.NOTSET

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def __enter__(self) -> None:
        with _told_all._lock:
            if not _told_all._num:
                _told_all._level = self._logger.level
                self._logger.setLevel(logging.INFO)
            _told_all._num += 1

    def __exit__(self, *_: object) -> None:
        with _told_all._lock:
            _told_all._num -= 1
            if not _told_all._num:
                self._logger.setLevel(_told_all._level)


@contextlib.contextmanager
def _descriptors_to(log: TextIO) -> Iterator[None]:
    """Output of C code and subprocesses included, which is why file descriptors and not sys.stdout are moved."""
    saved = {number: os.dup(number) for number in (1, 2)}
    sys.stdout.flush()
    sys.stderr.flush()
    for number in saved:
        os.dup2(log.fileno(), number)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in saved.items():
            os.dup2(copy, number)
            os.close(copy)


@contextlib.contextmanager
def warnings_of(name: str) -> Iterator[list[str]]:
    """What is logged as a warning meanwhile, from any thread: each text once."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if (text := record.getMessage()) not in found:
                found.append(text)

    collector = Collector(logging.WARNING)
    logger = logging.getLogger(name)
    logger.addHandler(collector)
    try:
        yield found
    finally:
        logger.removeHandler(collector)
