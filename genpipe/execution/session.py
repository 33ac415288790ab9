"""A driver's session: the processes that must not outlive it."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from genpipe.execution import watch


class Session:
    """All that `start` starts, or that has the token in its environment, ends with the session, and all it started.

    A watcher beside the driver sees to it even where the driver is killed.
    """

    def __init__(self) -> None:
        self.token = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", watch.__file__, self.token],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name != watch.VARIABLE},
            start_new_session=True,  # what is sent to the driver's terminal or group is not for it
        )

    def start(self, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """A process in a session of its own, with pipes, whose errors go to a file. One at a time."""
        assert self._process is None
        with log.open("a") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, watch.VARIABLE: self.token},
                start_new_session=True,  # a Ctrl-C is for the driver, which ends the rest
            )
        self._tell(str(self._process.pid).encode())
        return self._process

    def end_processes(self) -> None:
        """The process that was started first, before what it would complain to lose."""
        if self._process is not None:
            self._process.kill()
        watch.end_members(self.token, self._process.pid if self._process is not None else watch.NOBODY)
        if self._process is not None:
            self._process.wait()  # only now is its number free for others
            assert self._process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process = None

    def close(self) -> None:
        """Ends the session's processes, then the watcher."""
        self.end_processes()
        self.leave()

    def leave(self) -> None:
        """Ends the watcher alone."""
        self._tell(watch.LEAVE)
        assert self._watcher.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._watcher.stdin.close()
        self._watcher.wait()

    def _tell(self, word: bytes) -> None:
        assert self._watcher.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it was killed: then nobody watches
            self._watcher.stdin.write(word + b"\n")
            self._watcher.stdin.flush()
