"""What a store costs: an artifact there and back, and a plan whose steps only the store has.

    python benchmarks/store.py [--megabytes 256] [--latency 0.05] [--repeats 5] [--json FILE]

The artifact has four files. Baselines: a plain copy of the same files, synced; and as many requests one after the
other. The simulated store is a local folder each of whose requests takes `--latency` seconds. One warm-up is left out,
medians are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
from fsspec.spec import AbstractFileSystem

from genpipe.artifacts import publish, staging
from genpipe.finding import find_artifacts
from genpipe.stores import Store, StoredFolder
from genpipe.workspace import Workspace

NUM_FILES = 4
NUM_STEPS = 5


class SlowFileSystem(AbstractFileSystem):
    """A local folder as an object store at some distance, which counts what it is asked."""

    protocol = "slow"
    latency = 0.0
    num_requests = 0
    _lock = threading.Lock()

    def _travel(self) -> None:
        with SlowFileSystem._lock:
            SlowFileSystem.num_requests += 1
        time.sleep(self.latency)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        os.makedirs(self._strip_protocol(path), exist_ok=exist_ok)  # object stores have none to make

    def put_file(self, lpath: str, rpath: str, **kwargs: Any) -> None:
        self._travel()
        shutil.copyfile(lpath, self._strip_protocol(rpath))

    def pipe_file(self, path: str, value: bytes, **kwargs: Any) -> None:
        self._travel()
        Path(self._strip_protocol(path)).write_bytes(value)

    def get_file(self, rpath: str, lpath: str, **kwargs: Any) -> None:
        self._travel()
        shutil.copyfile(self._strip_protocol(rpath), lpath)

    def cat_file(self, path: str, **kwargs: Any) -> bytes:
        self._travel()
        return Path(self._strip_protocol(path)).read_bytes()

    def find(self, path: str, detail: bool = False, **kwargs: Any) -> Any:
        self._travel()
        found = [p for p in Path(self._strip_protocol(path)).rglob("*") if p.is_file()]
        return {str(p): {"name": str(p), "size": p.stat().st_size, "type": "file"} for p in found}

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
        self._travel()
        shutil.rmtree(self._strip_protocol(path), ignore_errors=True)


def timed(work: Callable[[], Any], before: Callable[[], Any], repeats: int) -> float:
    taken = []
    for _ in range(repeats + 1):
        before()
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


def requests(work: Callable[[], Any]) -> int:
    before = SlowFileSystem.num_requests
    work()
    return SlowFileSystem.num_requests - before


def make(final: Path, num_bytes: int) -> Path:
    with staging(final.parent) as folder:
        for number in range(NUM_FILES):
            (folder / f"part{number}.bin").write_bytes(os.urandom(num_bytes // NUM_FILES))
        publish(folder, final, {})
    return final


def plain_copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target)
    for path in target.rglob("*"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    fsspec.register_implementation("slow", SlowFileSystem)
    SlowFileSystem.latency = options.latency
    results: dict[str, Any] = {}
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, fsspec {fsspec.__version__}"
    print(f"{machine}; {options.megabytes} MB in {NUM_FILES} files; median of {options.repeats}")

    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        here, there = make(home / "here" / "key", options.megabytes * 10**6), home / "there"
        copied = timed(
            lambda: plain_copy(here, there / "key"),
            lambda: shutil.rmtree(there, ignore_errors=True),
            options.repeats,
        )
        results["plain copy, synced"] = {"seconds": copied}
        print(f"{'plain copy, synced':<44} {copied:7.3f} s")
        for label, address in (
            ("file://", f"file://{home}/files"),
            (f"{options.latency * 1000:.0f} ms away", f"slow://{home}/slow"),
        ):
            stored = StoredFolder(Store.at(address), "artifacts/model/key")
            sent = timed(lambda s=stored: s.send(here), stored.discard, options.repeats)
            stored.discard()
            asked = requests(lambda s=stored: s.send(here))
            fetched = timed(
                lambda s=stored: s.fetch(there / "key"),
                lambda: shutil.rmtree(there, ignore_errors=True),
                options.repeats,
            )
            results[label] = {"send_seconds": sent, "fetch_seconds": fetched, "send_requests": asked or None}
            count = f"  ({asked} requests)" if asked else ""
            print(f"{f'{label}: sent':<44} {sent:7.3f} s  {sent / copied:4.1f} × the copy{count}")
            print(f"{f'{label}: fetched, checked, published':<44} {fetched:7.3f} s  {fetched / copied:4.1f} × the copy")

        space = Workspace.choose(home / "space", f"slow://{home}/slow")
        folders = {f"step{n}": space.artifact("model", f"key{n}") for n in range(NUM_STEPS)}
        for folder in folders.values():
            StoredFolder(space.store, space.relative(folder)).send(make(home / "small" / folder.name, 4000))
        for label, check in (("plan", False), ("run", True)):
            asked = requests(lambda c=check: find_artifacts(folders, space, c))
            took = timed(lambda c=check: find_artifacts(folders, space, c), lambda: None, options.repeats)
            results[f"{label} of {NUM_STEPS} steps"] = {"requests": asked, "seconds": took}
            print(
                f"{f'{label} of {NUM_STEPS} steps that the store has':<44} {took:7.3f} s  {asked} requests side by side; "
                f"one after the other {asked * options.latency:.3f} s"
            )
    if options.json:
        with open(options.json, "w") as file:
            asked_for = {"megabytes": options.megabytes, "latency": options.latency, "repeats": options.repeats}
            json.dump({"machine": machine, "options": asked_for, "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
