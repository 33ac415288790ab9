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
    level = root.level
    root.setLevel(logging.INFO)
    try:
        with _descriptors_to(log) if redirect else contextlib.nullcontext():
            yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


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
