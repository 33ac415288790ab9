"""One process at a time makes an artifact: others that want the same wait, and find it made."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger("genpipe")

NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # of some network file systems


@contextlib.contextmanager
def sole_maker(scratch: Path) -> Iterator[None]:
    """Holds the right to make what `scratch` is for. It ends with the process, however that ends."""
    path = scratch.with_name(f"{scratch.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("w") as file:
            _lock(file.fileno(), path)
            if not _is_still_at(path, file.fileno()):
                continue  # whoever held it removed it in the end
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.info("the same is being made elsewhere; waiting for it")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        logger.warning("%s cannot be locked (%s): run one recipe at a time here", path.parent, error.strerror)


def _is_still_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
