"""Ends what a driver started, should the driver be killed: run as a program beside it, which imports nothing of ours.

    python watch.py TOKEN    with a pipe from the driver as its standard input

What the driver starts inherits a token in its environment, and so does all that is started by that: Ray's servers, its
agents, workers, and what steps start themselves. Unlike a list of process numbers it misses nobody and hits no stranger.
Some of Ray's processes write their title over their environment; those are known by their session, whose leader the
driver tells. On systems without /proc nothing is found.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Iterator

VARIABLE = "GENPIPE_SESSION"
LEAVE = b"leave"
NOBODY = -1
POLL_SECONDS = 1.0
END_SECONDS = 10.0


def members(token: str, leader: int) -> Iterator[int]:
    """Processes of this host with the token in their environment, or in the session of `leader`; but for this one."""
    entry = f"{VARIABLE}={token}".encode()
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdecimal() and int(name) != os.getpid():
            with contextlib.suppress(OSError):
                if os.getsid(int(name)) == leader or _has(name, entry):
                    yield int(name)


def _has(name: str, entry: bytes) -> bool:
    with open(f"/proc/{name}/environ", "rb") as file:
        return entry in file.read().split(b"\0")


def end_members(token: str, leader: int) -> None:
    """Kills them, and looks again until there is none that lives: one may have been starting another."""
    ends = time.monotonic() + END_SECONDS
    while time.monotonic() < ends:
        found = [pid for pid in members(token, leader) if not _has_ended(pid)]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _has_ended(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def main(token: str) -> None:
    driver, leader = os.getppid(), NOBODY
    while os.getppid() == driver:  # the pipe alone would not do: what the driver forks holds its end too
        if select.select([sys.stdin], [], [], POLL_SECONDS)[0]:
            told = os.read(sys.stdin.fileno(), 4096)
            if not told:
                break
            last = told.split()[-1]
            if last == LEAVE:
                return
            leader = int(last)
    end_members(token, leader)


if __name__ == "__main__":
    main(sys.argv[1])
