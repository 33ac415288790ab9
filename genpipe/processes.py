"""Questions about processes of this host."""

from __future__ import annotations

import functools
import os
import socket
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def process_is_alive(pid: int, started: int | None = None) -> bool:
    """started: what `process_start` gave for it; a process that took over its number is another."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    state = _stat(pid)
    if state is None:
        return not Path("/proc/self").exists()  # gone since; without /proc the signal is all there is to go by
    return state[0] not in "ZX" and (not started or int(state[19]) == started)


def process_start(pid: int) -> int:
    """When a process began, in clock ticks since the boot, which no clock that is set changes; 0 where unknown."""
    state = _stat(pid)
    return int(state[19]) if state else 0


@functools.cache
def process_space() -> str:
    """Names what this process's number is unique in: the host, since it was booted, and the container."""
    try:
        return f"{socket.gethostname()} {BOOT_ID.read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on; the name before them may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
