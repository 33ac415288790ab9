"""Stages run one by one, as the executor would, without a graph."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Mapping
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


@pytest.fixture
def stage(tmp_path: Path) -> StageRunner:
    """`stage(name, config, inputs, seed)` gives the artifact's folder."""
    return lambda *arguments, **options: run_stage(tmp_path, *arguments, **options)


MIXTURE = {"name": "gaussian_mixture", "num_components": 2, "reg_covar": 1e-2}
QUICK = {"steps": 20, "batch_size": 32, "log_every": 5, "warmup_steps": 0}


def _archive(folder: Path, x: np.ndarray[Any, Any]) -> dict[str, Any]:
    np.savez(folder / "examples.npz", x=x)
    return {"name": "npz", "path": str(folder / "examples.npz")}


class Steps:
    """Folders of the artifacts of a run, each made when a test first asks for it, for all workers of the suite.

    dataset: gives the component's options, and may keep its files in the folder that it is given.
    """

    def __init__(
        self, folder: Path, dataset: Callable[[Path], Any], model: Any, train: Mapping[str, Any] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._dataset, self._model, self._train = folder, dataset, model, train or {}

    @cached_property
    def data(self) -> Path:
        return self._made("data", lambda: {"dataset": self._dataset(self._folder)})

    @cached_property
    def model(self) -> Path:
        return self._made("train", lambda: {"model": self._model, "train": self._train}, "data")

    @cached_property
    def samples(self) -> Path:
        return self._made("sample", dict, "model", "data")

    @cached_property
    def features(self) -> Path:
        return self._made("features", dict, "data")

    @cached_property
    def evaluation(self) -> Path:
        return self._made("evaluate", dict, "data", "model", "samples", "features")

    @cached_property
    def report(self) -> Path:
        return self._made("report", dict, "data", "model", "samples", "features", "evaluation")

    def _made(self, stage: str, config: Callable[[], Mapping[str, Any]], *inputs: str) -> Path:
        folders = {name: getattr(self, name) for name in inputs}
        parent = self._folder / stage
        parent.mkdir(exist_ok=True)
        with (self._folder / f"{stage}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            whole = next(parent.glob(f"*-{stage}"), None)  # what is published is whole
            return whole or run_stage(parent, stage, config(), folders)


KINDS = ("grey", "colour", "points", "table")


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Steps]:
    """A whole run for each kind of data; small, and made once."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "runs"
    colours = np.random.default_rng(0).integers(0, 256, (90, 3, 5, 6)).astype(np.uint8)
    rows = np.random.default_rng(0).normal(size=(200, 5)) * [1, 10, 100, 1, 1] + 3
    digits, vae = {"name": "digits", "limit": 400}, {"name": "vae", "channels": 4, "latent_dim": 4}
    ring, eight = {"name": "gaussians_2d", "num_examples": 600}, {"num_components": 8, "reg_covar": 1e-6}
    return {
        "grey": Steps(root / "grey", lambda _: digits, vae, QUICK),
        "colour": Steps(root / "colour", lambda folder: _archive(folder, colours), MIXTURE),
        "points": Steps(root / "points", lambda _: ring, {**MIXTURE, **eight}),
        "table": Steps(root / "table", lambda folder: _archive(folder, rows), MIXTURE),
    }


@pytest.fixture(params=KINDS)
def steps(request: pytest.FixtureRequest, runs: dict[str, Steps]) -> Steps:
    """Each of the runs in turn."""
    return runs[request.param]
