"""What a stage is given to do its work."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genpipe.parallel import FanOut, InThisProcess, WorkerResources
from genpipe.ports import inputs_at
from genpipe.registry import Registry
from genpipe.stores import Site, StoredFolder


class ProgressFile:
    """A step's reports, appended as JSON lines for the driver to follow.

    Calls are cheap: reports closer than `interval_seconds` to the last are merged, the newest numbers winning,
    and written with the next (or at `flush`). A report with numbers on a new `at` that the caller marks
    `keep=True` is always written.
    """

    def __init__(self, path: Path | None, interval_seconds: float = 0.2) -> None:
        self.path = path
        self._file = path.open("a", buffering=1) if path is not None else None
        self._interval, self._last = interval_seconds, -math.inf
        self._waiting: dict[str, Any] | None = None
        self._at: tuple[int, int | None] = (0, None)

    def __call__(self, at: int, total: int | None = None, *, keep: bool = False, **numbers: float) -> None:
        """`at` of `total` units are done. numbers: named scalars, kept as metrics."""
        self._at = at, total
        self._waiting = {"time": time.time(), "at": at, "total": total, "metrics": numbers}
        if keep or time.monotonic() - self._last >= self._interval:
            self.flush()

    def again(self) -> None:
        """Reports what was reported last, without numbers: the sign of life of a step that waits for its workers."""
        self(*self._at, **(self._waiting or {}).get("metrics", {}))
        self.flush()

    def flush(self) -> None:
        if self._waiting is not None and self._file is not None:
            self._file.write(json.dumps(self._waiting) + "\n")
            self._last = time.monotonic()
        self._waiting = None

    def close(self) -> None:
        self.flush()
        if self._file is not None:
            self._file.close()


@dataclass(frozen=True, kw_only=True)
class StepContext:
    """A step at work.

    step: id in the graph; config: the stage's validated config; seed: the step's own.
    inputs: port → folder of the artifact, read-only, verified; None ports are absent.
    out: empty folder to fill; published as the step's artifact when the stage returns.
    scratch: folder that outlives a failed or killed attempt of this same key; for checkpoints.
    summary: what the stage wants shown beside its artifact (JSON values); a "metrics" mapping inside goes to the
    tracker as final numbers.
    device: "cpu" or "cuda"; cpus: threads to compute with. fan_out: shares independent work with other processes.
    resources: what each of the step's workers may hold on the cluster.
    site: by which the step's workers on other machines find what these paths are there (`site.artifact(path)`).
    log: the file that takes what the step prints, for processes that it starts.

    How an input was made (its stage's config, seed, seconds, summary) is in its manifest, genpipe.artifacts.
    """

    step: str
    stage: str
    config: Any
    seed: int
    inputs: Mapping[str, Path]
    out: Path
    scratch: Path
    registry: Registry
    progress: ProgressFile
    device: str = "cpu"
    cpus: int = 1
    resources: WorkerResources = field(default_factory=WorkerResources)
    fan_out: FanOut = field(default_factory=InThisProcess)
    site: Site | None = None
    log: Path | None = None
    summary: dict[str, Any] = field(default_factory=dict)

    def inputs_at(self, port: str) -> dict[str, Path]:
        """The inputs at a port for many, "evaluation.*", by what stands in their names for the "*"."""
        return inputs_at(port, self.inputs)

    @property
    def stored_scratch(self) -> StoredFolder | None:
        """What `scratch` is in the store, where there is one: it outlives the machine."""
        return self.site.stored(self.scratch) if self.site is not None else None
