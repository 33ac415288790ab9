"""Where a run's files are, for processes on other machines: its workspace, seen from there."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genpipe.artifacts import read_manifest
from genpipe.errors import GenpipeError, StoreError, UsageError
from genpipe.stores.store import Store
from genpipe.stores.stored import StoredFolder, tree

logger = logging.getLogger("genpipe.stores")

NODE_HOME = "GENPIPE_NODE_HOME"


@dataclass(frozen=True)
class Site:
    """A run's workspace, and its store where it has one. Plain data that crosses to every worker of the run.

    root: the workspace's folder as the sender sees it; the paths that cross beside it are below it. run: the run's own
    folder, by which a process knows whether it sees that same workspace. Where it does, every path is used as it is.
    Where it does not, the process has a workspace of its own, filled from the store: at GENPIPE_NODE_HOME, else under
    the same path if it can be made there, else in a temporary folder of the machine.
    detached: the sender itself does not see the driver's workspace. letters: the run's LetterBox actor, where steps run
    on a cluster.
    """

    root: str
    run: str
    store: Store | None = None
    detached: bool = False
    letters: Any = field(default=None, compare=False)

    @property
    def is_shared(self) -> bool:
        """Whether this process sees the driver's workspace."""
        return not self.detached and self.is_seen

    @property
    def is_seen(self) -> bool:
        """Whether this process sees the sender's workspace."""
        return (self.store is None or _node_home() in (None, Path(self.root))) and os.path.isdir(self.run)

    def seen_from_here(self) -> Site:
        """The same for what this process starts in turn, which is given paths of this machine."""
        run = self.path(self.run)
        return Site(str(self.root_here()), str(run), self.store, not self.is_shared, self.letters)

    def path(self, there: str | os.PathLike[str]) -> Path:
        """What is at `there` for the sender, on this machine; paths outside the workspace are the same everywhere."""
        try:
            below = Path(there).relative_to(self.root)
        except ValueError:
            return Path(there)
        return self.root_here() / below

    def root_here(self) -> Path:
        """This machine's folder; UsageError where it can have none."""
        if self.is_seen:
            return Path(self.root)
        if self.store is None:
            raise UsageError(
                f"the workspace {self.root} is not to be seen on {socket.gethostname()}: give it a folder that all "
                f"nodes see under one path (--workspace), or a store that they all reach (--store)"
            )
        if given := _node_home():
            return given
        with contextlib.suppress(OSError):
            Path(self.root).mkdir(parents=True, exist_ok=True)
            if os.access(self.root, os.W_OK):
                return Path(self.root)
        return _temporary_home()

    def stored(self, there: str | os.PathLike[str]) -> StoredFolder | None:
        """The place in the store of what is at `there` for the driver."""
        if self.store is None:
            return None
        return StoredFolder(self.store, Path(there).relative_to(self.root).as_posix())

    def artifact(self, there: str | os.PathLike[str], *, check: bool = False) -> Path:
        """The folder of an artifact on this machine, fetched from the store where it is not here yet.

        check: compare the checksums of what is here. ArtifactError where the store has no whole one either.
        """
        here, stored = self.path(there), self.stored(there)
        return here if stored is None else stored.bring(here, self._turns(here), check=check)

    def _turns(self, artifact: Path) -> Path:
        return self.root_here() / "scratch" / artifact.name

    def keep(self, there: str | os.PathLike[str], *, replace: bool = False) -> None:
        """Sends an artifact that was made here to the store, from where other machines take it.

        Where another machine was first, its content takes the place of ours. Where the store fails, a workspace that
        all see goes on without it, with a warning; StoreError where others could not come by the artifact.
        """
        here, stored = self.path(there), self.stored(there)
        if stored is None:
            return
        try:
            manifest = stored.send(here, replace=replace)
        except StoreError as error:
            if not self.is_shared:
                raise StoreError(f"{error}; {here} on {socket.gethostname()} keeps what was made") from None
            logger.warning("%s; %s has it, and the next run sends it", error, here)
            return
        if tree(manifest.files) != tree(read_manifest(here).files):
            logger.warning("another machine made %s first: its content is used", stored)
            stored.fetch(here, replace=True)


def _node_home() -> Path | None:
    given = os.environ.get(NODE_HOME)
    return Path(os.path.expanduser(given)).absolute() if given else None


def _temporary_home() -> Path:
    home = Path(tempfile.gettempdir()) / f"genpipe-{os.getuid()}"
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        if home.stat().st_uid == os.getuid() and not home.is_symlink():
            return home
        reason = "it belongs to somebody else"
    except OSError as error:
        reason = str(error)
    raise GenpipeError(
        f"{socket.gethostname()} has no folder for a workspace: {home} cannot be used ({reason}); name one in {NODE_HOME}"
    )
