"""Finding files at an address, opening them, and saying by what they are known; everything goes through fsspec."""

from __future__ import annotations

import hashlib
import itertools
import lzma
import os
import stat
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.core import url_to_fs

from genpipe.errors import DataError, GenpipeError, nearest
from genpipe.plugins.files.address import absolute, alternatives, is_local

READ_FOR_DIGEST = 256 * 2**20
"""Local files of so many bytes together are known by their content; larger and remote ones by size and version."""
MAX_ALTERNATIVES = 100_000
QUESTIONS = 32
PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
VERSIONS = (
    *("ETag", "etag", "CRC", "md5Hash", "crc32c", "checksum", "Content-MD5", "generation", "VersionId"),
    *("mtime", "LastModified", "last_modified", "Last-Modified", "updated", "created"),
)
CLIENTS = {"aiohttp", "botocore", "aiobotocore", "gcsfs", "google", "azure", "requests", "paramiko", "huggingface_hub"}


@dataclass(frozen=True)
class File:
    """A file that was found. name: its path inside the folder or pattern it was found by; version: changes with it."""

    address: str
    name: str
    size: int
    version: str


@contextmanager
def told(address: str) -> Iterator[None]:
    """Turns what a file system or its client raises into a DataError that names the address."""
    try:
        yield
    except GenpipeError:
        raise
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{address} cannot be read: {_reason(error)}") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in CLIENTS:
            raise
        raise DataError(f"{address} cannot be read: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def connect(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it; DataError where the protocol is unknown or not installed."""
    protocol = address.partition("://")[0]
    try:
        with told(address):
            system, path = url_to_fs(address)
            return system, str(path)
    except ImportError as error:
        package = PACKAGES.get(protocol)
        remedy = f"pip install {package}" if package else _reason(error)
        raise DataError(f"{address}: no package for {protocol}:// is installed: {remedy}") from error
    except ValueError as error:
        if protocol in fsspec.available_protocols():
            raise DataError(f"{address} cannot be read: {_reason(error)}") from error
        raise DataError(
            f"{address}: {protocol}:// is no protocol of fsspec{nearest(protocol, fsspec.available_protocols())}"
        ) from None


@contextmanager
def opened(address: str, compression: str | None = None) -> Iterator[IO[bytes]]:
    """The file at an address, to read bytes from. compression: "infer" unpacks by the name's ending (.gz, .bz2, .xz)."""
    system, path = connect(address)
    with told(address):
        if compression == "infer":
            compression = fsspec.utils.infer_compression(path)
        with fsspec.core.OpenFile(system, path, "rb", compression) as file:
            yield file


def stem(address: str) -> str:
    """The name of a file or folder without folders and endings, to call a data set by."""
    last = address.split("::")[0].rstrip("/").rsplit("/", 1)[-1]
    return last.split("*")[0].split("{")[0].split(".")[0].strip("-_") or "data"


def find(address: str, suffixes: Sequence[str]) -> list[File]:
    """The files at an address, by name: a file; those of a folder and of folders in it that end in one of `suffixes`;
    those that a pattern with *, ?, [] or braces matches. DataError where there is none, with the nearest name."""
    address = absolute(address)
    if is_local(address) and os.path.lexists(address):
        found = _local(address, suffixes)  # a file may be called a[1].csv or {x}.csv
    else:
        patterns = list(itertools.islice(alternatives(address), MAX_ALTERNATIVES + 1))
        if len(patterns) > MAX_ALTERNATIVES:
            raise DataError(f"{address} stands for more than {MAX_ALTERNATIVES:,} files")
        # Side by side, since what is far away answers one question in the time of many.
        with ThreadPoolExecutor(1 if is_local(address) else QUESTIONS) as pool:
            found = [file for files in pool.map(partial(_matching, suffixes=suffixes), patterns) for file in files]
    return sorted(found, key=lambda file: file.name)


def only(address: str) -> File:
    """The one file at an address; DataError with the nearest name beside it otherwise."""
    if is_local(address) and os.path.isdir(address):
        raise DataError(f"{address} is a folder, expected a file")
    files = find(address, ())
    if len(files) != 1:
        raise DataError(f"{address} matches {len(files)} files, expected one")
    return files[0]


def exists(address: str) -> bool:
    """Whether there is a file or a folder at an address, which is no pattern."""
    if is_local(address):
        return os.path.lexists(address)
    system, path = connect(address)
    with told(address):
        return bool(system.exists(path))


def _matching(pattern: str, suffixes: Sequence[str]) -> list[File]:
    if is_local(pattern) and os.path.lexists(pattern):
        return _local(pattern, suffixes)
    system, path = connect(pattern)
    around = _around(pattern, path)
    with told(pattern):
        system.invalidate_cache()
        info = _info(system, path, pattern)
        if info is not None and info["type"] == "file":
            return [_file(system, around, path, path.rsplit("/", 1)[-1], info)]
        if info is not None:
            root = path.rstrip("/") + "/" if path else ""
            found = _inside(system, around, path, root, suffixes)
            if not found:
                raise DataError(f"{pattern} has no file that ends in {' or '.join(suffixes)}")
            return found
        signs = [path.index(sign) for sign in "*?[" if sign in path]
        if signs:
            root = path[: min(signs)].rpartition("/")[0] + "/"
            found = []
            for place, info in system.glob(path, detail=True).items():
                if place.rsplit("/", 1)[-1].startswith("."):
                    continue  # to a shell, * stands for no hidden file
                if info["type"] == "file":
                    found.append(_file(system, around, place, place.removeprefix(root), info))
                else:
                    found += _inside(system, around, place, root, suffixes)
            if not found:
                raise DataError(f"{pattern} matches no file{_nearest_beside(root) if is_local(pattern) else ''}")
            return found
    if is_local(pattern):
        _missing(Path(pattern))
    raise DataError(f"{pattern} does not exist")


def _info(system: Any, path: str, address: str) -> dict[str, Any] | None:
    """What a file system says of a path that is no pattern; None where there is nothing."""
    if "*" in path:
        return None
    if address.startswith("http") and address.endswith("/"):
        return {"type": "directory"}  # HTTP says of every address that it is a file
    try:
        return dict(system.info(path))
    except FileNotFoundError as error:
        cause = error.__cause__  # HTTP says of a host that does not answer, too, that there is no file
        if isinstance(cause, Exception) and getattr(cause, "status", None) not in (None, 404, 410):
            raise DataError(f"{address} cannot be read: {_reason(cause)}") from error
        if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
            raise DataError(f"{address} cannot be read: {_reason(cause)}") from error
        return None


def _inside(system: Any, around: tuple[str, str], folder: str, root: str, suffixes: Sequence[str]) -> list[File]:
    listing = system.find(folder, detail=True).items()
    names = {place: place.removeprefix(root).lstrip("/") for place, _ in listing}
    return [_file(system, around, p, names[p], info) for p, info in listing if _wanted(names[p], suffixes)]


def _around(address: str, path: str) -> tuple[str, str]:
    """What stands before and after a path of its file system in an address."""
    links = address.split("::")
    place = next((i for i, link in enumerate(links) if "://" in link), 0)
    link = links[place].rstrip("/")
    head = link.removesuffix(path.rstrip("/")) if link.endswith(path.rstrip("/")) else ""
    return "::".join([*links[:place], head]), "".join(f"::{link}" for link in links[place + 1 :])


def _file(system: Any, around: tuple[str, str], path: str, name: str, info: dict[str, Any]) -> File:
    versions = {key: info[key] for key in VERSIONS if info.get(key) is not None}
    moments = {key: v.timestamp() if hasattr(v, "timestamp") else v for key, v in versions.items()}
    version = repr(sorted(moments.items())) if moments else str(system.ukey(path))
    return File(around[0] + path + around[1], name, int(info.get("size") or 0), version)


def _wanted(name: str, suffixes: Sequence[str]) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
    return not hidden and name.lower().endswith(tuple(suffixes))


def _local(path: str, suffixes: Sequence[str]) -> list[File]:
    with told(path):
        found = os.stat(path)
        if not stat.S_ISDIR(found.st_mode):
            return [File(path, os.path.basename(path), found.st_size, str(found.st_mtime_ns))]
        files = list(_walk(path, "", suffixes, (found.st_ino,)))
    if not files:
        raise DataError(f"{path} has no file that ends in {' or '.join(suffixes)}")
    return files


def _walk(folder: str, inside: str, suffixes: Sequence[str], around: tuple[int, ...]) -> Iterator[File]:
    # fsspec's own walk asks the system three times for each file, which counts where there are a million.
    with os.scandir(folder) as entries:
        for entry in entries:
            name = inside + entry.name
            if entry.is_dir():
                number = entry.stat().st_ino
                if not entry.name.startswith((".", "__MACOSX")) and number not in around:  # a link to what it is in
                    yield from _walk(entry.path, f"{name}/", suffixes, (*around, number))
            elif _wanted(entry.name, suffixes):
                found = entry.stat()
                yield File(entry.path, name, found.st_size, str(found.st_mtime_ns))


def _missing(path: Path) -> None:
    """Raises the DataError for a local path that is not there, with the nearest name beside it."""
    if not path.parent.is_dir():
        raise DataError(f"{path} does not exist: there is no folder {path.parent}")
    raise DataError(f"{path} does not exist{_nearest_beside(path)}")


def _nearest_beside(path: Path | str) -> str:
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    if not folder.is_dir():
        return f": there is no folder {folder}"
    return nearest(path.name, [p.name for p in folder.iterdir() if not p.name.startswith(".")])


def digest(name: str, *groups: Sequence[File]) -> str:
    """What files are known by, in order: a name for them all, and their own names, but not their places.

    Local files of no more than READ_FOR_DIGEST bytes together: by every byte. Larger and remote ones by size and
    version, which is what the file system has: time of change, entity tag or checksum.
    """
    files = [file for group in groups for file in group]
    small = all(is_local(file.address) for file in files) and sum(file.size for file in files) <= READ_FOR_DIGEST
    total = hashlib.sha256(name.encode(errors="surrogateescape"))
    for file in files:
        total.update(f"{file.name}\0{file.size}\0".encode(errors="surrogateescape"))
        if small:
            with opened(file.address) as content:
                total.update(hashlib.file_digest(content, "sha256").digest())  # type: ignore[arg-type]
        else:
            total.update(f"{file.version}\0".encode())
    return total.hexdigest()
