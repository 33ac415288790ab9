"""The one folder that holds everything: artifacts, checkpoints, runs with their logs, the tracking store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genpipe.errors import UsageError

if TYPE_CHECKING:
    from genpipe.stores import Store, StoredFolder

ENVIRONMENT_VARIABLE = "GENPIPE_HOME"
STORE_VARIABLE = "GENPIPE_STORE"
DEFAULT = ".genpipe"


@dataclass(frozen=True)
class Workspace:
    """Folders of a workspace. `root` is absolute, since workers run elsewhere.

    store: what the folder is this machine's copy of, where it has a store.
    """

    root: Path
    store: Store | None = None

    @classmethod
    def choose(cls, given: str | os.PathLike[str] | None = None, store: str | None = None) -> Workspace:
        """`given`, else GENPIPE_HOME, else `.genpipe` in the current folder. store: its address, else GENPIPE_STORE."""
        root = Path(os.path.expanduser(given or os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT)).absolute()
        there = next(place for place in (root, *root.parents) if place.exists())
        if not there.is_dir():
            raise UsageError(f"workspace {root}: {there} is a file, expected a folder")
        address = store or os.environ.get(STORE_VARIABLE)
        return cls(root, _store(address, root) if address else None)

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def sweeps(self) -> Path:
        return self.root / "sweeps"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def tracking_uri(self) -> str:
        """The default tracking store: sqlite, absolute, since workers change directory."""
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def tracking_artifacts(self) -> Path:
        return self.root / "mlartifacts"

    def artifact(self, kind: str, key: str) -> Path:
        return self.artifacts / kind / key

    def relative(self, path: Path) -> str:
        """A path of the workspace as records keep it."""
        return path.relative_to(self.root).as_posix()

    def stored(self, path: Path) -> StoredFolder | None:
        """The place in the store of a folder of the workspace; None where it has no store."""
        if self.store is None:
            return None
        from genpipe.stores import StoredFolder

        return StoredFolder(self.store, self.relative(path))

    def scratch(self, key: str) -> Path:
        """Checkpoints of a step's unfinished attempts."""
        return self.root / "scratch" / key


def _store(address: str, root: Path) -> Store:
    from genpipe.stores import Store

    store = Store.at(address)
    if store.address == root.as_uri():
        raise UsageError(f"the store {store.address} is the workspace itself; give the store a place of its own")
    return store
