"""The graph of the pipeline `compare`: one data step, a branch for each model and seed, and one table of them all."""

from __future__ import annotations

from collections.abc import Iterator

from genpipe.graph import Group, Step
from genpipe.pipelines.compare.config import CompareConfig, CompareStageConfig, ModelSections
from genpipe.pipelines.evaluate.chosen import features_config
from genpipe.pipelines.train.config import TrainStageConfig


def build(config: CompareConfig, seed: int) -> list[Step]:
    """data → train.LABEL.SEED → sample.LABEL.SEED → evaluate.LABEL.SEED → compare, and data → features → evaluate.

    Branches share the data and what gives features alone, so they run side by side where there is room. A model's seed is that of its
    training and its samples; data and evaluations have the run's, so that every model sees the same splits and the rows
    that frame them (real data, copies, noise) are the same in all evaluations.
    """
    ask = config.resources
    options = CompareStageConfig(models=tuple(config.models), seeds=config.seeds, **dict(config.compare))
    inputs = {"data": "data"}
    for member in (f"{label}.{number}" for label in config.models for number in config.seeds):
        inputs |= {
            f"evaluation.{member}": f"evaluate.{member}",
            f"samples.{member}": f"sample.{member}",
            f"model.{member}": f"train.{member}",
        }
    return [
        Step(id="data", stage="data", config=config.data, seed=seed, resources=ask.data, workers=config.data.workers),
        Step(
            id="features",
            stage="features",
            config=features_config(config.evaluate),
            inputs={"data": "data"},
            seed=seed,
            resources=ask.features,
            workers=config.evaluate.workers,
        ),
        # a seed after the other, so that a comparison that is stopped has each model once first
        *(
            step
            for number in config.seeds
            for label, sections in config.models.items()
            for step in _branch(
                Group(name=f"{label}.{number}", section=f"models.{label}"), sections, config, number, seed
            )
        ),
        Step(id="compare", stage="compare", config=options, inputs=inputs, seed=seed, resources=ask.compare),
    ]


def _branch(group: Group, sections: ModelSections, config: CompareConfig, number: int, seed: int) -> Iterator[Step]:
    ask, train, sample = config.resources, f"train.{group.name}", f"sample.{group.name}"
    yield Step(
        id=train,
        stage="train",
        config=TrainStageConfig(model=sections.model, train=sections.train),
        inputs={"data": "data"},
        seed=number,
        resources=ask.train,
        workers=sections.train.workers,
        min_workers=sections.train.min_workers,
        group=group,
    )
    yield Step(
        id=sample,
        stage="sample",
        config=sections.sample,
        inputs={"model": train, "data": "data"},
        seed=number,
        resources=ask.sample,
        workers=sections.sample.workers,
        group=group,
    )
    yield Step(
        id=f"evaluate.{group.name}",
        stage="evaluate",
        config=config.evaluate,
        inputs={"data": "data", "features": "features", "model": train, "samples": sample},
        seed=seed,
        resources=ask.evaluate,
        workers=config.evaluate.workers,
        group=group,
    )
