"""An artifact or a checkpoint in a store: whole or absent there too.

`PATH/manifest.json` is the local folder's manifest, written last; the files are below `PATH/TREE/`, where TREE is a
digest of their names and checksums. So what two writers upload at once never mixes, an upload that was broken off goes
on, and the one file that decides is written in one request. What is fetched is compared with its checksums.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genpipe.artifacts import MANIFEST, Manifest, compare_size, parse_manifest, publish, read_manifest, staging, verify
from genpipe.errors import ArtifactError, StoreError
from genpipe.execution.turns import Taken, sole_maker
from genpipe.stores.store import Store, in_parallel

logger = logging.getLogger("genpipe.stores")

NUM_SETTLING_ROUNDS = 3
TURN_SECONDS = 0.2


def tree(files: Mapping[str, Mapping[str, Any]]) -> str:
    """The folder's name that the files of a manifest are kept under."""
    plain = {name: [f["sha256"], f["bytes"]] for name, f in files.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:20]


@dataclass(frozen=True)
class _Before:
    manifest: Manifest | None
    is_whole: bool


@dataclass(frozen=True)
class StoredFolder:
    """One folder in a store, at `path` relative to the store's address."""

    store: Store
    path: str

    def __str__(self) -> str:
        return self.store.url(self.path)

    def manifest(self) -> Manifest | None:
        """What the folder says of itself; None where it is not there. ArtifactError where that is torn."""
        content = self.store.read(f"{self.path}/{MANIFEST}")
        return None if content is None else parse_manifest(content, f"{self}/{MANIFEST}")

    def whole(self) -> Manifest | None:
        """The manifest, once every file was seen to have its size; ArtifactError names the first that has not.

        Two requests, side by side. Checksums are compared when the folder is fetched.
        """
        asked: list[Callable[[], Any]] = [self.manifest, lambda: self.store.sizes(self.path)]
        manifest, sizes = in_parallel(lambda ask: ask(), asked)
        if manifest is not None:
            self._compare(manifest, sizes)
        return manifest

    def _compare(self, manifest: Manifest, sizes: Mapping[str, int]) -> None:
        below = tree(manifest.files)
        for name, expected in manifest.files.items():
            compare_size(self, name, sizes.get(f"{below}/{name}"), expected)

    def send(self, folder: Path, *, replace: bool = False) -> Manifest:
        """Uploads a published folder and gives the manifest that the store then has.

        Where the store has a whole one already, that one stays, unless `replace` says that it was made anew on
        purpose: another machine may have made the same, and its content is the one that others have seen.
        """
        manifest = read_manifest(folder)
        before = self._replaceable()
        if not replace and before.is_whole:
            assert before.manifest is not None
            return before.manifest
        below = tree(manifest.files)
        self._upload(folder, manifest, anew=replace)
        if not replace and (there := self._by_another(below)) is not None:
            return there  # it took less time
        self.store.write(f"{self.path}/{MANIFEST}", (folder / MANIFEST).read_bytes())
        self._upload(folder, manifest)  # sees that all is there; what another took away meanwhile comes again
        if not replace and (there := self._by_another(below)) is not None:
            return there
        if before.manifest is not None and (old := tree(before.manifest.files)) != below:
            self.store.remove(f"{self.path}/{old}")
        return manifest

    def _replaceable(self) -> _Before:
        """What is there before an upload; what is torn is said."""
        manifest = None
        try:
            manifest = self.manifest()
            if manifest is not None:
                self._compare(manifest, self.store.sizes(self.path))
            return _Before(manifest, is_whole=manifest is not None)
        except ArtifactError as error:
            logger.warning("%s; it is uploaded again", error)
            return _Before(manifest, is_whole=False)

    def _upload(self, folder: Path, manifest: Manifest, anew: bool = False) -> None:
        """Uploads the files that are not there in full size (anew: all) until they are."""
        below = tree(manifest.files)
        sizes = {} if anew else self.store.sizes(self.path)
        for _ in range(NUM_SETTLING_ROUNDS):
            missing = [n for n, f in manifest.files.items() if sizes.get(f"{below}/{n}") != f["bytes"]]
            if not missing:
                return
            in_parallel(lambda name: self.store.upload(folder / name, f"{self.path}/{below}/{name}"), missing)
            sizes = self.store.sizes(self.path)
        raise StoreError(f"store {self.store.address}: {missing[0]} of {self.path} does not stay there")

    def _by_another(self, below: str) -> Manifest | None:
        """The manifest of another's upload, which stays; ours is removed, and nobody else's, who may be at it still."""
        with contextlib.suppress(ArtifactError):
            there = self.manifest()
            if there is not None and tree(there.files) != below:
                self._compare(there, self.store.sizes(self.path))
                self.store.remove(f"{self.path}/{below}")
                return there
        return None

    def fetch(self, final: Path, *, replace: bool = False) -> Manifest:
        """Downloads the folder, compares every checksum and publishes it at `final`.

        What is whole at `final` stays, unless `replace`. ArtifactError where the store has none, or a torn one: that
        is removed from the store, so that it is made again.
        """
        problem: ArtifactError | None = None
        for _ in range(2):  # it may have been replaced meanwhile, or a transfer have gone wrong
            try:
                manifest = self.manifest()
                if manifest is not None:
                    return self._fetch(manifest, final, replace)
            except ArtifactError as error:
                problem = error
        if problem is None:
            raise ArtifactError(f"artifact {self} is not there")
        gone = "the store does not let it be removed"
        with contextlib.suppress(StoreError):
            self.discard()
            gone = "it was removed from there, so that the same command makes it again"
        raise ArtifactError(f"{problem}; {gone}")

    def _fetch(self, manifest: Manifest, final: Path, replace: bool) -> Manifest:
        below = f"{self.path}/{tree(manifest.files)}"
        with staging(final.parent) as folder:

            def download(name: str) -> None:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                try:
                    self.store.download(f"{below}/{name}", folder / name, manifest.files[name]["bytes"])
                except FileNotFoundError:
                    compare_size(self, name, None, manifest.files[name])

            in_parallel(download, manifest.files)
            try:
                return publish(folder, final, manifest.facts, replace=replace, expected=manifest.files)
            except ArtifactError as error:
                raise ArtifactError(str(error).replace(str(final), str(self))) from None

    def bring(self, final: Path, turns: Path, *, check: bool = False) -> Path:
        """`final`, fetched where it is not there in full size already; check: or has not its checksums.

        turns: a path beside whose lock whoever makes or fetches the same on this machine takes turns.
        """
        look = verify if check else _in_full_size
        with contextlib.suppress(ArtifactError):
            look(final)
            return final
        while True:
            try:
                with sole_maker(turns):
                    self._bring(final, look)
                return final
            except Taken:  # by who makes it here, or fetches it too
                time.sleep(TURN_SECONDS)

    def _bring(self, final: Path, look: Callable[[Path], Manifest]) -> None:
        try:
            look(final)
        except ArtifactError as error:
            if final.exists():
                logger.warning("%s; it is fetched again", error)
            manifest = self.fetch(final, replace=final.exists())
            logger.info("fetched %s, %.1f MiB", self, num_bytes(manifest) / 2**20)

    def discard(self) -> None:
        """Removes the folder so that it never looks whole on the way: its manifest goes first."""
        self.store.remove(f"{self.path}/{MANIFEST}")
        self.store.remove(self.path)


def num_bytes(manifest: Manifest) -> int:
    return sum(file["bytes"] for file in manifest.files.values())


def _in_full_size(folder: Path) -> Manifest:
    """The manifest, where all its files are there with their sizes."""
    manifest = read_manifest(folder)
    for name, expected in manifest.files.items():
        path = folder / name
        compare_size(folder, name, path.stat().st_size if path.is_file() else None, expected)
    return manifest
