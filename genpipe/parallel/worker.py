"""A worker's side of shared work: the object that each of the processes holds."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from genpipe.components import load_reference
from genpipe.errors import GenpipeError
from genpipe.stores import Site

logger = logging.getLogger("genpipe")

PULSE_SECONDS = 2.0


@dataclass(frozen=True)
class Done:
    """An item's result, and how long it took."""

    result: Any
    seconds: float


@dataclass(frozen=True)
class Failed:
    """An item's error. traceback: None where the error says all that a user needs."""

    error: str
    exit_code: int = 1
    traceback: str | None = None


class Worker:
    """Does items with the function that `begin` made.

    number: its own, for the log; log: the step's, which takes all that the process prints; site: what that path is on
    another machine. hang_seconds: a process whose item has used no processor time for so long writes its stack to the
    log and exits.
    """

    def __init__(self, number: int, cpus: int, log: str, site: Site | None, hang_seconds: float) -> None:
        self._number, self._cpus, self._log = number, cpus, log
        self._site, self._hang_seconds = site, hang_seconds
        self._reaching = contextlib.ExitStack()
        self._function: Callable[[Any], Any] | None = None
        self._failed: Failed | None = None

    def ready(self) -> Done | Failed:
        """Makes ready to work; the result is the process's number."""
        return attempt(self._start)

    def _start(self) -> int:
        from genpipe.execution.threads import wait_politely

        wait_politely()  # before torch is imported
        log = Path(self._log)
        if self._site is not None and not self._site.is_seen:
            from genpipe.execution.letters import reaching_the_driver

            log, _ = self._reaching.enter_context(reaching_the_driver(self._site, log, name=f"worker{self._number}"))
        self._watch = Watch(output_to(log, self._number), self._hang_seconds)
        import torch

        torch.set_num_threads(self._cpus)
        return os.getpid()

    def begin(self, task: str, shared: Any) -> None:
        """Makes the function that later items are given to; its error becomes theirs."""
        self._function = self._failed = None
        with self._watch:
            made = attempt(lambda: load_reference(task)(shared))
        if isinstance(made, Failed):
            self._failed = made
        else:
            self._function = made.result

    def do(self, begun: None, item: Any) -> Done | Failed:
        """begun: what `begin` gave, so that an error on the way there is met here too."""
        if self._failed is not None:
            return self._failed
        function = self._function
        assert function is not None
        with self._watch:
            return attempt(lambda: function(item))


def attempt(work: Callable[[], Any]) -> Done | Failed:
    """What the work gave, or how it failed."""
    start = time.perf_counter()
    try:
        return Done(work(), time.perf_counter() - start)
    except GenpipeError as error:
        return Failed(str(error), error.exit_code)
    except MemoryError:
        return Failed("out of memory", 1, traceback.format_exc())
    except (Exception, SystemExit) as error:
        return Failed(f"{type(error).__name__}: {error}", 1, traceback.format_exc())


class Watch:
    """Ends the process if the work inside of `with` uses no processor time for long.

    Work that computes, on a processor or waiting for a device, uses some; work that waits for a lock, a peer or a
    disk that never answers uses none. The timer is faulthandler's, which fires even where the interpreter is held.
    """

    def __init__(self, log: TextIO, hang_seconds: float) -> None:
        self._log, self._seconds = log, hang_seconds
        self._lock = threading.Lock()
        self._clock: int | None = None
        self._used = 0.0
        threading.Thread(target=self._follow, daemon=True, name="watch").start()

    def __enter__(self) -> None:
        with self._lock:
            self._clock = time.pthread_getcpuclockid(threading.get_ident())
            self._used = time.clock_gettime(self._clock)
            self._arm()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._clock = None
            faulthandler.cancel_dump_traceback_later()

    def _arm(self) -> None:
        faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._log)

    def _follow(self) -> None:
        while True:
            time.sleep(min(PULSE_SECONDS, self._seconds / 4))
            with self._lock:
                if self._clock is not None and (used := time.clock_gettime(self._clock)) > self._used:
                    self._used = used
                    self._arm()


def output_to(path: Path, number: int) -> TextIO:
    """Sends this process's whole output, of C code too, to a file's end; gives the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    log = path.open("a", buffering=1)
    sys.stdout.flush()
    sys.stderr.flush()
    for descriptor in (1, 2):
        os.dup2(log.fileno(), descriptor)
    handler = logging.StreamHandler(log)
    handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)s worker {number} %(name)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    return log
