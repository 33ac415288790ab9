"""How long a store is waited for: every operation ends within a time, and is tried again where that may help."""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from genpipe.errors import UsageError

Result = TypeVar("Result")

TIMEOUT_VARIABLE = "GENPIPE_STORE_TIMEOUT_SECONDS"
SLOWEST_BYTES_PER_SECOND = 2**20  # a transfer that is slower is taken for one that hangs

# What trying again does not mend. TypeError and ValueError: a driver's way to refuse an address or an option.
PERMANENT = (
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    ImportError,
    ValueError,
    TypeError,
)
PERMANENT_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)


@dataclass(frozen=True)
class Patience:
    """timeout_seconds: for one try, more where many bytes move. Pauses grow fourfold from the first, with jitter."""

    timeout_seconds: float = 60.0
    num_tries: int = 4
    first_pause_seconds: float = 0.25

    @classmethod
    def from_environment(cls) -> Patience:
        given = os.environ.get(TIMEOUT_VARIABLE)
        try:
            return cls() if given is None else cls(timeout_seconds=_positive(given))
        except ValueError:
            raise UsageError(f"{TIMEOUT_VARIABLE} is '{given}', expected a positive number of seconds") from None

    def call(self, operation: Callable[[], Result], num_bytes: int = 0) -> Result:
        """The operation's result; raises what its last try raised, TimeoutError where that took too long.

        A try that timed out may still go on in a thread of its own: operations must bear being done twice.
        """
        seconds = self.timeout_seconds + num_bytes / SLOWEST_BYTES_PER_SECOND
        for left in reversed(range(self.num_tries)):
            try:
                return within(seconds, operation)
            except Exception as error:
                if not left or is_permanent(error):
                    raise
            pause = self.first_pause_seconds * 4 ** (self.num_tries - 1 - left)
            time.sleep(pause * random.uniform(0.75, 1.25))
        raise AssertionError("the last try returns or raises")


def _positive(text: str) -> float:
    if not 0 < float(text) < float("inf"):
        raise ValueError
    return float(text)


def is_permanent(error: BaseException) -> bool:
    return isinstance(error, PERMANENT) or getattr(error, "errno", None) in PERMANENT_NUMBERS


def within(seconds: float, operation: Callable[[], Result]) -> Result:
    """The operation's result, TimeoutError after `seconds`.

    It runs in a daemon thread, since a driver that hangs cannot be stopped, and must not keep the process from ending.
    """
    outcome: list[tuple[Any, BaseException | None]] = []

    def work() -> None:
        try:
            outcome.append((operation(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=work, daemon=True, name="store")
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise TimeoutError(f"no answer within {seconds:.3g} s")
    result, error = outcome[0]
    if error is not None:
        raise error
    return result
