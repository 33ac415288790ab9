"""A store: files at an fsspec address, each operation bounded in time, tried again, and named where it fails."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from genpipe.errors import StoreError
from genpipe.stores.address import checked, without_secrets
from genpipe.stores.patience import Patience

Item = TypeVar("Item")
Result = TypeVar("Result")

NUM_PARALLEL = 16
MAX_ERROR_LENGTH = 300
PROBE_SECONDS = 20.0


@dataclass(frozen=True)
class Store:
    """Files below an address, by relative paths with slashes. Plain data: it crosses to other processes.

    Credentials are the storage driver's business, which finds them in the environment. Each method is one request, or
    a few; raises StoreError with the address and the operation. Writing the same file twice at once must do no harm,
    so users give different content different paths.
    """

    address: str
    patience: Patience = field(default_factory=lambda: Patience.from_environment(), compare=False)

    @classmethod
    def at(cls, address: str) -> Store:
        """UsageError where an address cannot be one of a store."""
        return cls(checked(address))

    @property
    def is_of_this_process(self) -> bool:
        return self.address.startswith("memory://")

    def url(self, path: str) -> str:
        return f"{self.address}/{path}"

    def read(self, path: str) -> bytes | None:
        """A small file's content; None where there is none."""
        with contextlib.suppress(FileNotFoundError):
            content: bytes = self._do("reading", path, lambda fs, full: fs.cat_file(full), FileNotFoundError)
            return content
        return None

    def write(self, path: str, content: bytes) -> None:
        """A small file; on storage without atomic writes a reader may see its beginning."""
        self._do("writing", path, lambda fs, full: _write(fs, full, content), num_bytes=len(content))

    def upload(self, file: Path, path: str) -> None:
        """A copy of a local file, which must not change meanwhile."""
        self._do("uploading", path, lambda fs, full: _upload(fs, file, full), num_bytes=file.stat().st_size)

    def download(self, path: str, file: Path, num_bytes: int) -> None:
        """A local copy, in a folder that exists. FileNotFoundError where the store has none."""
        self._do("downloading", path, lambda fs, full: _download(fs, full, file), FileNotFoundError, num_bytes)

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of every file below a folder, by path relative to it: one listing."""

        def find(fs: Any, full: str) -> dict[str, int]:
            fs.invalidate_cache()
            prefix = fs._strip_protocol(full).rstrip("/") + "/"
            found = fs.find(full, detail=True)
            return {name.removeprefix(prefix): info["size"] for name, info in found.items() if name.startswith(prefix)}

        with contextlib.suppress(FileNotFoundError):
            return self._do("listing", folder, find, FileNotFoundError)
        return {}

    def remove(self, path: str) -> None:
        """Removes a file, or a folder with all in it; nothing happens where there is none."""
        with contextlib.suppress(FileNotFoundError):
            self._do("removing", path, lambda fs, full: fs.rm(full, recursive=True), FileNotFoundError)

    def probe(self) -> None:
        """StoreError where the store cannot be written, read and cleaned: known before anything is spent."""
        patience = replace(
            self.patience, timeout_seconds=min(PROBE_SECONDS, self.patience.timeout_seconds), num_tries=2
        )
        hasty = replace(self, patience=patience)
        path = f".probe-{socket.gethostname()}-{uuid.uuid4().hex[:12]}"
        content = path.encode()
        hasty.write(path, content)
        if hasty.read(path) != content:
            raise StoreError(f"store {self.address}: what is written there is not what is read back")
        hasty.remove(path)

    def _do(
        self,
        doing: str,
        path: str,
        operation: Callable[[Any, str], Result],
        passed_on: type[Exception] | tuple[()] = (),
        num_bytes: int = 0,
    ) -> Result:
        try:
            return self.patience.call(lambda: operation(*_filesystem(self.address, path)), num_bytes)
        except Exception as error:
            if passed_on and isinstance(error, passed_on):
                raise
            text = without_secrets((str(error).splitlines() or [""])[0])[:MAX_ERROR_LENGTH]
            kind = type(error).__name__
            raise StoreError(
                f"store {self.address}: {doing} {path} failed: {kind}{f': {text}' if text else ''}"
            ) from None


@lru_cache
def _opened(address: str) -> tuple[Any, str]:
    import fsspec

    # listings are looked up to see what others wrote since
    filesystem, root = fsspec.core.url_to_fs(address, use_listings_cache=False)
    return filesystem, root.rstrip("/")


def _filesystem(address: str, path: str) -> tuple[Any, str]:
    filesystem, root = _opened(address)
    return filesystem, f"{root}/{path}"


def _is_local(filesystem: Any) -> bool:
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(filesystem, LocalFileSystem)


def _write(filesystem: Any, path: str, content: bytes) -> None:
    if not _is_local(filesystem):
        filesystem.makedirs(filesystem._parent(path), exist_ok=True)
        filesystem.pipe_file(path, content)
        return
    with _aside(Path(path)) as part:
        part.write_bytes(content)


def _upload(filesystem: Any, file: Path, path: str) -> None:
    if not _is_local(filesystem):
        filesystem.makedirs(filesystem._parent(path), exist_ok=True)
        filesystem.put_file(str(file), path)
        return
    with _aside(Path(path)) as part:
        shutil.copyfile(file, part)


def _download(filesystem: Any, path: str, file: Path) -> None:
    # each try writes to a file of its own: one that was given up may still be writing
    part = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
    try:
        filesystem.get_file(path, str(part))
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _aside(path: Path) -> Any:
    """A mounted folder can do what object stores do: a file is there whole, on the disk, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield part
        descriptor = os.open(part, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def in_parallel(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Results in order, made by a few threads: a store answers many questions in the time of one."""
    listed: Sequence[Item] = list(items)
    if len(listed) < 2:
        return [function(item) for item in listed]
    pool = ThreadPoolExecutor(min(NUM_PARALLEL, len(listed)), thread_name_prefix="store")
    try:
        return list(pool.map(function, listed))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # a try is bounded, but an interruption must not wait for it
