"""The steps of one model on one data set, for every graph that has them."""

from __future__ import annotations

from collections.abc import Mapping

from genpipe.config import FamilyChoice, Resources
from genpipe.graph import Group, Step
from genpipe.pipelines.data.config import DataConfig
from genpipe.pipelines.evaluate.chosen import features_config
from genpipe.pipelines.evaluate.config import EvaluateConfig
from genpipe.pipelines.sample.config import SampleConfig
from genpipe.pipelines.train.config import TrainStageConfig
from genpipe.training.config import TrainConfig


def data_step(config: DataConfig, seed: int, resources: Resources) -> Step:
    return Step(id="data", stage="data", config=config, seed=seed, resources=resources, workers=config.workers)


def features_step(config: EvaluateConfig, seed: int, resources: Resources) -> Step:
    """What gives the features that an evaluation names."""
    return Step(
        id="features",
        stage="features",
        config=features_config(config),
        inputs={"data": "data"},
        seed=seed,
        resources=resources,
        workers=config.workers,
    )


def train_step(
    model: FamilyChoice, config: TrainConfig, seed: int, resources: Resources, group: Group | None = None
) -> Step:
    return Step(
        id=named("train", group),
        stage="train",
        config=TrainStageConfig(model=model, train=config),
        inputs={"data": "data"},
        seed=seed,
        resources=resources,
        workers=config.workers,
        min_workers=config.min_workers,
        group=group,
    )


def sample_step(config: SampleConfig, seed: int, resources: Resources, group: Group | None = None) -> Step:
    return Step(
        id=named("sample", group),
        stage="sample",
        config=config,
        inputs={"model": named("train", group), "data": "data"},
        seed=seed,
        resources=resources,
        workers=config.workers,
        group=group,
    )


def evaluate_step(
    config: EvaluateConfig, scored: Mapping[str, str], seed: int, resources: Resources, group: Group | None = None
) -> Step:
    """scored: port → step of the samples, and of the model where it is known."""
    return Step(
        id=named("evaluate", group),
        stage="evaluate",
        config=config,
        inputs={"data": "data", "features": "features", **scored},
        seed=seed,
        resources=resources,
        workers=config.workers,
        group=group,
    )


def named(step: str, group: Group | None) -> str:
    """`train`, or `train.vae.0` of a group."""
    return step if group is None else f"{step}.{group.name}"
