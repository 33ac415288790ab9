"""The default store, one sqlite file: made once, by one process, and whole or absent.

MLflow makes its tables in dozens of migrations over seconds. Two processes at once, or a kill in the middle, would
leave a file that it can never use again.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

PREFIX = "sqlite:///"


def make_store(uri: str, migrate: Callable[[str], object]) -> None:
    """Makes the sqlite file of a tracking URI where it is not there; does nothing for other stores.

    migrate: makes the tables of the store at a URI.
    """
    if not uri.startswith(PREFIX) or "?" in uri:
        return
    path = Path(uri.removeprefix(PREFIX))
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not path.exists():  # another process may have made it meanwhile
            _make(path, migrate)


def _make(path: Path, migrate: Callable[[str], object]) -> None:
    aside = path.with_name(f".{path.name}.making")
    aside.unlink(missing_ok=True)  # of one that was killed: the lock is ours
    migrate(f"{PREFIX}{aside}")
    aside.rename(path)
