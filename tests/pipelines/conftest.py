"""Stages run one by one, as the executor would, without a graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
    """Folders of the artifacts of a run."""

    data: Path
    features: Path
    model: Path
    samples: Path
    evaluation: Path
    report: Path


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
    report = run_stage(parent, "report", {}, {**inputs, "evaluation": evaluation}, seed)
    return Steps(data, features, fitted, samples, evaluation, report)


@pytest.fixture
def stage(tmp_path: Path) -> StageRunner:
    """`stage(name, config, inputs, seed)` gives the artifact's folder."""
    return lambda *arguments, **options: run_stage(tmp_path, *arguments, **options)


MIXTURE = {"name": "gaussian_mixture", "num_components": 2, "reg_covar": 1e-2}
QUICK = {"steps": 20, "batch_size": 32, "log_every": 5, "warmup_steps": 0}


def _archive(parent: Path, x: np.ndarray[Any, Any]) -> dict[str, Any]:
    np.savez(parent / "examples.npz", x=x)
    return {"name": "npz", "path": str(parent / "examples.npz")}


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Steps]:
    """A whole run for each kind of data; small, and made once."""
    rng = np.random.default_rng(0)

    def folder(name: str) -> Path:
        return tmp_path_factory.mktemp(name)

    colours = rng.integers(0, 256, (90, 3, 5, 6)).astype(np.uint8)
    rows = rng.normal(size=(200, 5)) * [1, 10, 100, 1, 1] + 3
    ring = {"name": "gaussians_2d", "num_examples": 600}
    return {
        "grey": run_all(
            folder("grey"),
            {"name": "digits", "limit": 400},
            {"name": "vae", "channels": 4, "latent_dim": 4},
            train=QUICK,
        ),
        "colour": run_all(folder("colour"), _archive(folder("colours"), colours), MIXTURE),
        "points": run_all(folder("points"), ring, {**MIXTURE, "num_components": 8, "reg_covar": 1e-6}),
        "table": run_all(folder("table"), _archive(folder("rows"), rows), MIXTURE),
    }


KINDS = ("grey", "colour", "points", "table")


@pytest.fixture(params=KINDS)
def steps(request: pytest.FixtureRequest, runs: dict[str, Steps]) -> Steps:
    """Each of the runs in turn."""
    return runs[request.param]
