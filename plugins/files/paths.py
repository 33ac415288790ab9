"""Finding files and saying what they hold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from genpipe.errors import DataError, nearest


def existing(path: Path) -> Path:
    """`path` with ~ expanded, once it is a file; DataError with the nearest name beside it otherwise."""
    path = path.expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise DataError(f"{path} is a folder, expected a file")
    parent = path.parent
    if not parent.is_dir():
        raise DataError(f"{path} does not exist: there is no folder {parent}")
    beside = [p.name for p in parent.iterdir() if p.is_file() and not p.name.startswith(".")]
    raise DataError(f"{path} does not exist{nearest(path.name, beside)}")


def digest(paths: Iterable[Path]) -> str:
    """SHA-256 over the files' own SHA-256 sums, in order: changes with any byte, not with where they lie."""
    total = hashlib.sha256()
    for path in paths:
        with existing(path).open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
