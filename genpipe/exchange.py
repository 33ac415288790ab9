"""Two folders change places."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

AT_FDCWD = -100
RENAME_EXCHANGE = 2
UNKNOWN = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


def exchange(new: Path, final: Path) -> None:
    """What is at `final` goes to `new`, and the other way round; both are on one file system.

    On Linux in one step, so that there is always something at `final`. Where the kernel or the file system cannot, in
    three: a kill in between leaves nothing at `final`, and what was there beside it.
    """
    try:
        _rename(new, final)
    except OSError as error:
        if error.errno not in UNKNOWN:
            raise
        aside = new.with_name(f"{new.name}.old")
        final.rename(aside)
        new.rename(final)
        aside.rename(new)


def _rename(new: Path, final: Path) -> None:
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # another C library, another system
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    if renameat2(AT_FDCWD, os.fsencode(new), AT_FDCWD, os.fsencode(final), RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(final))
