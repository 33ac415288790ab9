"""`faulty:///folder`: a store over a local folder that fails as its plan says, in every process that sees the plan.

The plan is the JSON file that FAULTY_PLAN names, read at each operation:
    seconds: each operation's latency          hang: operations that never answer
    fail: {operation: how many more times}     refuse: operations that are not permitted
    full: bytes that all files may have        tear: [bytes that arrive of an upload, whether it says so]
Every operation is noted, a line each, in the file beside it. Files grow in small pieces: a kill leaves a beginning.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import time
from pathlib import Path

from fsspec.spec import AbstractFileSystem

PIECE_BYTES = 1 << 12
WRITING = ("put_file", "pipe_file", "rm")


class FaultyFileSystem(AbstractFileSystem):
    protocol = "faulty"
    cachable = False

    def _begin(self, name: str, path: str) -> dict:
        plan = Path(os.environ["FAULTY_PLAN"])
        with plan.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            faults = json.loads(file.read())
            left = faults.get("fail", {}).get(name, 0)
            if left:
                faults["fail"][name] -= 1
                file.seek(0)
                file.write(json.dumps(faults))
                file.truncate()
            with plan.with_suffix(".log").open("a") as log:
                log.write(f"{name} {path}\n")
        time.sleep(3600 if name in faults.get("hang", ()) else faults.get("seconds", 0))
        if left:
            raise OSError(errno.ECONNRESET, "Connection reset by peer")
        if name in faults.get("refuse", ()):
            raise PermissionError(errno.EACCES, "Access Denied")
        return faults

    def makedirs(self, path, exist_ok=False):
        pass  # as in an object store, there are no folders

    def _grow(self, path: str, content: bytes, faults: dict) -> None:
        target = Path(self._strip_protocol(path))
        arrives, says = faults.get("tear", (len(content), False))
        room = float("inf")
        if "full" in faults:
            room = faults["full"] - sum(p.stat().st_size for p in _root(target).rglob("*") if p.is_file())
        with _opened(target) as file:
            for start in range(0, min(arrives, len(content)), PIECE_BYTES):
                piece = content[start : min(start + PIECE_BYTES, arrives)]
                if start + len(piece) > room:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                file.write(piece)
        if says and arrives < len(content):
            raise OSError(errno.EIO, "the connection broke")

    def put_file(self, lpath, rpath, callback=None, mode="overwrite", **kwargs):
        self._grow(rpath, Path(lpath).read_bytes(), self._begin("put_file", rpath))

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        self._grow(path, value, self._begin("pipe_file", path))

    def cat_file(self, path, start=None, end=None, **kwargs):
        self._begin("cat_file", path)
        return Path(self._strip_protocol(path)).read_bytes()

    def get_file(self, rpath, lpath, callback=None, outfile=None, **kwargs):
        self._begin("get_file", rpath)
        shutil.copyfile(self._strip_protocol(rpath), lpath)

    def find(self, path, maxdepth=None, withdirs=False, detail=False, **kwargs):
        self._begin("find", path)
        found = {}
        for folder, _, names in os.walk(self._strip_protocol(path)):
            for name in (os.path.join(folder, n) for n in names):
                with contextlib.suppress(FileNotFoundError):  # others remove files meanwhile
                    found[name] = {"name": name, "size": os.stat(name).st_size, "type": "file"}
        return found

    def rm(self, path, recursive=False, maxdepth=None):
        self._begin("rm", path)
        target = Path(self._strip_protocol(path))
        if target.is_dir():
            shutil.rmtree(target, ignore_errors=True)
        else:
            target.unlink()


def _root(target: Path) -> Path:
    return next((p for p in target.parents if p.name == "store"), target.parent)


def _opened(target: Path):
    while True:
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # others remove the last file of a folder meanwhile
            return target.open("wb", buffering=0)
