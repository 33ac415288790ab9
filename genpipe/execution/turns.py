"""One process at a time makes an artifact: others that want the same are told, and come again."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from genpipe import heartbeat
from genpipe.processes import process_is_alive, process_space, process_start

logger = logging.getLogger("genpipe")

NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # of some network file systems
OWNER = "owner.json"


class Taken(Exception):
    """Another process has the turn."""


@contextlib.contextmanager
def sole_maker(scratch: Path) -> Iterator[None]:
    """Holds the right to make what `scratch` is for, or raises Taken. It ends with the process, however that ends."""
    path = _lock_file(scratch)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Taken from None
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                break
            if not _is_still_at(path, file.fileno()):
                continue  # whoever held it removed it in the end
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return
    with _owned(_turn_folder(scratch)):
        yield


def is_taken(scratch: Path) -> bool:
    """Whether another process has the turn; asking takes nothing."""
    try:
        with _lock_file(scratch).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return _has_owner(_turn_folder(scratch))
    return False


def _lock_file(scratch: Path) -> Path:
    return scratch.with_name(f"{scratch.name}.lock")


def _turn_folder(scratch: Path) -> Path:
    return scratch.with_name(f"{scratch.name}.turn")


def _is_still_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


# -- where files cannot be locked: a folder, since making one is atomic everywhere, with its owner and a heartbeat --------


@contextlib.contextmanager
def _owned(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir()
    except FileExistsError:
        if _has_owner(folder):
            raise Taken from None
        with contextlib.suppress(FileNotFoundError):
            # one of those who find it abandoned moves it away; the others find it gone, or a new owner's
            shutil.rmtree(folder.rename(folder.with_name(f"{folder.name}-{uuid.uuid4().hex}")), ignore_errors=True)
        try:
            folder.mkdir()
        except FileExistsError:
            raise Taken from None
    owner = {"process_space": process_space(), "pid": os.getpid(), "started": process_start(os.getpid())}
    (folder / OWNER).write_text(json.dumps(owner))
    try:
        with heartbeat.beating(folder):
            yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _has_owner(folder: Path) -> bool:
    """Whether a turn's folder is there and its owner lives."""
    try:
        owner = json.loads((folder / OWNER).read_text())
        if owner["process_space"] == process_space():
            return process_is_alive(owner["pid"], owner["started"])
    except (FileNotFoundError, ValueError, KeyError):
        if not folder.exists():
            return False
    return not (heartbeat.is_doubtful(folder) and heartbeat.stand_still([folder]))
