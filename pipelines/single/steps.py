"""The steps of one model on one data set, for every graph that has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from genpipe.config import FamilyChoice, Resources
from genpipe.graph import Group, Step
from genpipe.pipelines.compose.config import ComposeStageConfig
from genpipe.pipelines.data.config import DataConfig
from genpipe.pipelines.evaluate.chosen import features_config
from genpipe.pipelines.evaluate.config import EvaluateConfig
from genpipe.pipelines.sample.config import SampleConfig
from genpipe.pipelines.single.coder import CoderSections
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


def model_steps(
    model: FamilyChoice,
    config: TrainConfig,
    coder: CoderSections | None,
    seed: int,
    resources: Resources,
    coder_resources: Resources,
    group: Group | None = None,
) -> Iterator[Step]:
    """What leads from the data to a model: its training, or with a coder that one's, its codes, the training of the
    model on these, and both as one."""
    if coder is None:
        yield _train_step("train", "data", model, config, seed, resources, group)
        return
    yield _train_step("coder", "data", coder.model, coder.train, seed, coder_resources, group)
    yield Step(
        id=named("encode", group),
        stage="encode",
        config=coder.encode,
        inputs={"model": named("coder", group), "data": "data"},
        seed=seed,
        resources=coder_resources,
        group=group,
    )
    yield _train_step("train", named("encode", group), model, config, seed, resources, group)
    yield Step(
        id=named("compose", group),
        stage="compose",
        config=ComposeStageConfig(model=coder.compose),
        inputs={"coder": named("coder", group), "prior": named("train", group)},
        seed=seed,
        group=group,
    )


def final_model(coder: CoderSections | None, group: Group | None = None) -> str:
    """The step that gives the model of the data itself."""
    return named("train" if coder is None else "compose", group)


def _train_step(
    name: str, data: str, model: FamilyChoice, config: TrainConfig, seed: int, resources: Resources, group: Group | None
) -> Step:
    return Step(
        id=named(name, group),
        stage="train",
        config=TrainStageConfig(model=model, train=config),
        inputs={"data": data},
        seed=seed,
        resources=resources,
        workers=config.workers,
        min_workers=config.min_workers,
        group=group,
    )


def sample_step(config: SampleConfig, model: str, seed: int, resources: Resources, group: Group | None = None) -> Step:
    """model: the step that gives it."""
    return Step(
        id=named("sample", group),
        stage="sample",
        config=config,
        inputs={"model": model, "data": "data"},
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
