"""Artifacts: folders that are whole or absent.

A folder is filled aside, synced, given a manifest of checksums and published by one atomic rename. A crash, a kill
or a full disk leaves at most a staging folder, which the next start clears.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genpipe.errors import ArtifactError, GenpipeError
from genpipe.exchange import exchange
from genpipe.processes import process_is_alive

MANIFEST = "manifest.json"
STAGING_PREFIX = ".staging-"
PARALLEL_BYTES = 1 << 20  # below, starting threads takes longer than hashing
FRESH_SECONDS = 3600.0
FULL_BYTES = 64 * 1024  # less than this free is a full disk


@dataclass(frozen=True)
class Manifest:
    """What a published folder says of itself.

    files: relative path → {"sha256", "bytes"}. facts: everything else that was given to `publish` (for a step's
    artifact: key, kind, stage, step, config, seed, inputs, key_parts, seconds, created, environment, summary, and where it is known peak_memory_bytes).
    """

    files: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.facts[name]
        except KeyError:
            raise AttributeError(name) from None


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def disk_errors_named(path: Path) -> Iterator[None]:
    """Turns a full disk or a refused write into a message that names the folder."""
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        # libraries that write files from compiled code (NumPy, safetensors) raise errors without the number
        if number in (errno.ENOSPC, errno.EDQUOT) or _is_full(path):
            raise GenpipeError(f"no space left on the disk of {path}; nothing half-written was kept") from error
        if number in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR):
            raise GenpipeError(f"{path} cannot be written: {os.strerror(number)}") from error
        raise


@contextlib.contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """An empty folder on the file system of `parent`, removed at the end unless it was published."""
    with disk_errors_named(parent):
        parent.mkdir(parents=True, exist_ok=True)
        folder = parent / f"{STAGING_PREFIX}{os.getpid()}-{uuid.uuid4().hex[:8]}-{socket.gethostname()}"
        folder.mkdir()
        try:
            with _kept_fresh(folder):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _kept_fresh(folder: Path) -> Iterator[None]:
    """Touches a folder now and then, so that to other hosts it never looks long left, however long the work."""
    ended = threading.Event()

    def touch() -> None:
        while not ended.wait(FRESH_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(folder)

    threading.Thread(target=touch, daemon=True, name="staging").start()
    try:
        yield
    finally:
        ended.set()


def _is_full(path: Path) -> bool:
    there = next(p for p in (path, *path.parents) if p.exists())
    return shutil.disk_usage(there).free < FULL_BYTES


def _synced(folder: Path) -> dict[str, dict[str, Any]]:
    """Checksums and sizes of all files below a folder, once they and their folders are on the disk."""
    paths = sorted(folder.rglob("*"))
    for path in paths:
        _sync(path)
    files = [path for path in paths if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): {"sha256": digest, "bytes": path.stat().st_size}
        for path, digest in zip(files, _checksums(files), strict=True)
    }


def _checksums(files: Sequence[Path]) -> list[str]:
    """SHA-256 of each, by as many threads as there are cores: hashing holds no lock."""
    threads = min(len(files), os.cpu_count() or 1)
    if threads < 2 or sum(path.stat().st_size for path in files) < PARALLEL_BYTES:
        return [sha256(path) for path in files]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(sha256, files))


def publish(
    folder: Path,
    final: Path,
    facts: Mapping[str, Any],
    *,
    replace: bool = False,
    expected: Mapping[str, Mapping[str, Any]] | None = None,
) -> Manifest:
    """Moves a staged folder to `final`, whole and synced.

    Where `final` is there already, it stays if it verifies, unless `replace` says that it was made anew on purpose.
    expected: a manifest's files that these must be, for a copy; ArtifactError names the first that is not.
    """
    with disk_errors_named(final.parent):
        files = _synced(folder)
        if expected is not None:
            _compare(final, files, expected)
        text = json.dumps({"facts": dict(facts), "files": files}, indent=1, sort_keys=True)
        with (folder / MANIFEST).open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        _sync(folder)
        try:
            folder.rename(final)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            if not replace:
                with contextlib.suppress(ArtifactError):
                    return verify(final)  # another process published the same content first
            exchange(folder, final)  # so that a kill at any moment leaves the old one or the new
            discard(folder)
        _sync(final.parent)
    return Manifest(files, dict(facts))


def read_manifest(folder: Path) -> Manifest:
    """The manifest, without looking at the files; ArtifactError where there is none that parses."""
    path = folder / MANIFEST
    try:
        return parse_manifest(path.read_bytes(), path)
    except FileNotFoundError:
        raise ArtifactError(f"{folder} is not a whole artifact: it has no {MANIFEST}") from None


def parse_manifest(text: bytes, where: object) -> Manifest:
    """The manifest that a file's content is; ArtifactError naming `where` it was, if it is none."""
    try:
        fields = json.loads(text)
        files = {_inside(name): {"sha256": f["sha256"], "bytes": f["bytes"]} for name, f in fields["files"].items()}
        return Manifest(files, dict(fields["facts"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{where} is damaged: {type(error).__name__}: {error}") from None


def _inside(name: str) -> str:
    """The name of a file in an artifact; ValueError where it leads out of it."""
    if name.startswith("/") or ".." in name.split("/"):
        raise ValueError(f"the file '{name}' is not in the artifact")
    return name


def verify(folder: Path) -> Manifest:
    """The manifest, once every file has its checksum; ArtifactError names the first that has not."""
    manifest = read_manifest(folder)
    for name, expected in manifest.files.items():
        path = folder / name
        compare_size(folder, name, path.stat().st_size if path.is_file() else None, expected)
    digests = _checksums([folder / name for name in manifest.files])
    for (name, expected), digest in zip(manifest.files.items(), digests, strict=True):
        if digest != expected["sha256"]:
            raise ArtifactError(f"artifact {folder}: {name} does not match its checksum")
    return manifest


def compare_size(where: object, name: str, size: int | None, expected: Mapping[str, Any]) -> None:
    """ArtifactError where a file is missing (size None) or has not as many bytes as its manifest says."""
    if size is None:
        raise ArtifactError(f"artifact {where}: {name} is missing")
    if size != expected["bytes"]:
        raise ArtifactError(f"artifact {where}: {name} has {size} bytes, its manifest says {expected['bytes']}")


def _compare(where: object, files: Mapping[str, Mapping[str, Any]], expected: Mapping[str, Mapping[str, Any]]) -> None:
    for name in expected:
        compare_size(where, name, files[name]["bytes"] if name in files else None, expected[name])
        if files[name]["sha256"] != expected[name]["sha256"]:
            raise ArtifactError(f"artifact {where}: {name} does not match its checksum")


def discard(folder: Path) -> None:
    """Removes an artifact so that it never looks whole on the way: its manifest goes first."""
    with contextlib.suppress(FileNotFoundError):
        (folder / MANIFEST).unlink()
    shutil.rmtree(folder, ignore_errors=True)


def clear_staging(parent: Path, older_than_seconds: float = 7 * 24 * 3600) -> None:
    """Removes what dead processes of this host left while staging, and what has long been left by other hosts."""
    for folder in parent.glob(f"{STAGING_PREFIX}*") if parent.is_dir() else ():
        pid, _, host = [*folder.name.removeprefix(STAGING_PREFIX).split("-", 2), "", ""][:3]
        ours = pid.isdecimal() and host == socket.gethostname()
        with contextlib.suppress(OSError):
            if not process_is_alive(int(pid)) if ours else _age(folder) > older_than_seconds:
                shutil.rmtree(folder, ignore_errors=True)


def _age(folder: Path) -> float:
    """Seconds since a folder was touched, by the clock of its file system: hosts' clocks disagree, and jump."""
    clock = folder.with_name(f".clock-{uuid.uuid4().hex[:8]}")
    try:
        clock.touch()
        return clock.stat().st_mtime - folder.stat().st_mtime
    finally:
        clock.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Replaces one small file; readers see the old or the new, never a part."""
    with disk_errors_named(path.parent):
        aside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
        with aside.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
