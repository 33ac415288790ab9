"""Stages run one by one, as the executor would, without a graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genpipe.artifacts import publish
from genpipe.parallel import FanOut, InThisProcess
from genpipe.registry import registry
from genpipe.steps import ProgressFile, StepContext
from genpipe.validation import restore_config

StageRunner = Callable[..., Path]


@dataclass(frozen=True)
class Steps:
    """Folders of the artifacts of a run; the report, whose pictures take the longest, is made where it is looked at."""

    parent: Path
    seed: int
    data: Path
    features: Path
    model: Path
    samples: Path
    evaluation: Path

    @cached_property
    def report(self) -> Path:
        names = ("data", "features", "model", "samples", "evaluation")
        return run_stage(self.parent, "report", {}, {name: getattr(self, name) for name in names}, self.seed)


def run_stage(
    parent: Path,
    stage: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, Path] | None = None,
    seed: int = 0,
    *,
    scratch: Path | None = None,
    fan_out: FanOut | None = None,
) -> Path:
    """The published artifact of one step; its manifest has what later stages read."""
    record = registry().get("stage", stage)
    number = len(list(parent.iterdir()))
    out, scratch = parent / f"{number}-{stage}-staged", scratch or parent / f"{number}-{stage}-scratch"
    out.mkdir()
    checked = restore_config(record.config_class, config, registry())
    context = StepContext(
        step=stage,
        stage=stage,
        config=checked,
        seed=seed,
        inputs=dict(inputs or {}),
        out=out,
        scratch=scratch,
        registry=registry(),
        progress=ProgressFile(None),
        fan_out=fan_out or InThisProcess(),
    )
    started = time.time()
    record.builder(context)
    facts = {
        "kind": record.gives,
        "stage": stage,
        "step": stage,
        "config": checked.model_dump(mode="json"),
        "seed": seed,
        "created": started,
        "seconds": time.time() - started,
        "environment": {"python": "3"},
        "summary": context.summary,
    }
    final = parent / f"{number}-{stage}"
    publish(out, final, facts)
    return final


def run_all(
    parent: Path,
    dataset: Any,
    model: Any,
    *,
    train: Mapping[str, Any] | None = None,
    sample: Mapping[str, Any] | None = None,
    evaluate: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Steps:
    data = run_stage(parent, "data", {"dataset": dataset}, seed=seed)
    fitted = run_stage(parent, "train", {"model": model, "train": train or {}}, {"data": data}, seed)
    samples = run_stage(parent, "sample", sample or {}, {"model": fitted, "data": data}, seed)
    inputs = {"data": data, "model": fitted, "samples": samples}
    features = run_stage(parent, "features", {}, {"data": data}, seed)
    inputs["features"] = features
    evaluation = run_stage(parent, "evaluate", evaluate or {}, inputs, seed)
    return Steps(parent, seed, data, features, fitted, samples, evaluation)


@pytest.fixture
def stage(tmp_path: Path) -> StageRunner:
    """`stage(name, config, inputs, seed)` gives the artifact's folder."""
    return lambda *arguments, **options: run_stage(tmp_path, *arguments, **options)


MIXTURE = {"name": "gaussian_mixture", "num_components": 2, "reg_covar": 1e-2}
QUICK = {"steps": 20, "batch_size": 32, "log_every": 5, "warmup_steps": 0}


def _archive(parent: Path, x: np.ndarray[Any, Any]) -> dict[str, Any]:
    np.savez(parent / "examples.npz", x=x)
    return {"name": "npz", "path": str(parent / "examples.npz")}


KINDS = ("grey", "colour", "points", "table")


class Runs:
    """A whole run for each kind of data; small, and made once, when first asked for."""

    def __init__(self, folder: Callable[[str], Path]) -> None:
        self._folder = folder
        self._made: dict[str, Steps] = {}

    def __getitem__(self, kind: str) -> Steps:
        if kind not in self._made:
            self._made[kind] = getattr(self, f"_{kind}")(self._folder(kind))
        return self._made[kind]

    def _grey(self, folder: Path) -> Steps:
        digits, vae = {"name": "digits", "limit": 400}, {"name": "vae", "channels": 4, "latent_dim": 4}
        return run_all(folder, digits, vae, train=QUICK)

    def _colour(self, folder: Path) -> Steps:
        colours = np.random.default_rng(0).integers(0, 256, (90, 3, 5, 6)).astype(np.uint8)
        return run_all(folder, _archive(self._folder("colours"), colours), MIXTURE)

    def _points(self, folder: Path) -> Steps:
        ring = {"name": "gaussians_2d", "num_examples": 600}
        return run_all(folder, ring, {**MIXTURE, "num_components": 8, "reg_covar": 1e-6})

    def _table(self, folder: Path) -> Steps:
        rows = np.random.default_rng(0).normal(size=(200, 5)) * [1, 10, 100, 1, 1] + 3
        return run_all(folder, _archive(self._folder("rows"), rows), MIXTURE)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp)


@pytest.fixture(params=KINDS)
def steps(request: pytest.FixtureRequest, runs: Runs) -> Steps:
    """Each of the runs in turn."""
    return runs[request.param]
