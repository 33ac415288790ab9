"""Which data set reads what lies at a path, by the endings of the files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from genpipe.errors import UsageError, nearest
from genpipe.registry import Registry

MAX_LOOKED_AT = 10_000  # files of a folder
PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".joblib")


def reader_of(address: str, registry: Registry) -> str:
    """The name of the data set whose option `path` takes a file, a folder, a pattern or an address.

    UsageError where nothing is there, where nothing reads it, or where a folder has files of several kinds.
    """
    endings = {p.record.name: p.record.suffixes for p in registry.all("dataset") if p.record.suffixes}
    path = os.path.expanduser(address)
    if os.path.isdir(path):
        return _of_folder(address, path, endings)
    if not os.path.exists(path) and "://" not in address and not set("*?[{") & set(address):
        raise UsageError(f"{address} does not exist{_nearest_beside(Path(path).absolute())}")
    found = _reader(address, endings)
    if found is not None:
        return found
    if address.lower().endswith(PICKLES):
        raise UsageError(f"{address} is a pickle: reading one may run any code. Save the array with numpy.savez")
    raise UsageError(f"{address}: nothing reads files of this ending; {_listed(endings)}")


def _of_folder(address: str, path: str, endings: Mapping[str, tuple[str, ...]]) -> str:
    readers = Counter(_reader(name, endings) for name in islice(_files(path), MAX_LOOKED_AT))
    readers.pop(None, None)
    if not readers:
        raise UsageError(f"the folder {address} has no file that can be read; {_listed(endings)}")
    if len(readers) > 1:
        listed = " and ".join(f"{count} for {name}" for name, count in readers.most_common())
        raise UsageError(
            f"the folder {address} has files of several kinds: {listed}; put them apart, or give a pattern"
        )
    (reader,) = readers
    return str(reader)


def _files(folder: str) -> Iterator[str]:
    """Names of the files in a folder and in those inside, hidden ones left out."""
    for _, inside, names in os.walk(folder):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        yield from (name for name in names if not name.startswith("."))


def _reader(name: str, endings: Mapping[str, tuple[str, ...]]) -> str | None:
    return next((reader for reader, suffixes in endings.items() if name.lower().endswith(suffixes)), None)


def _listed(endings: Mapping[str, tuple[str, ...]]) -> str:
    return "there is " + ", ".join(f"{name} ({' '.join(suffixes)})" for name, suffixes in endings.items())


def _nearest_beside(path: Path) -> str:
    if not path.parent.is_dir():
        return f": there is no folder {path.parent}"
    return nearest(path.name, [p.name for p in path.parent.iterdir() if not p.name.startswith(".")])
