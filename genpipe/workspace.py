"""The one folder that holds everything: artifacts, checkpoints, runs with their logs, the tracking store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from genpipe.errors import UsageError

ENVIRONMENT_VARIABLE = "GENPIPE_HOME"
DEFAULT = ".genpipe"


@dataclass(frozen=True)
class Workspace:
    """Folders of a workspace. `root` is absolute, since workers run elsewhere."""

    root: Path

    @classmethod
    def choose(cls, given: str | os.PathLike[str] | None = None) -> Workspace:
        """`given`, else GENPIPE_HOME, else `.genpipe` in the current folder."""
        root = Path(os.path.expanduser(given or os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT)).absolute()
        there = next(place for place in (root, *root.parents) if place.exists())
        if not there.is_dir():
            raise UsageError(f"workspace {root}: {there} is a file, expected a folder")
        return cls(root)

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

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

    def scratch(self, key: str) -> Path:
        """Checkpoints of a step's unfinished attempts."""
        return self.root / "scratch" / key
