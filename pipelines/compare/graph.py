"""The graph of the pipeline `compare`: one data step, a branch for each model and seed, and one table of them all."""

from __future__ import annotations

from collections.abc import Iterator

from genpipe.graph import Group, Step
from genpipe.pipelines.compare.config import CompareConfig, CompareStageConfig, ModelSections
from genpipe.pipelines.single.steps import data_step, evaluate_step, features_step, named, sample_step, train_step


def build(config: CompareConfig, seed: int) -> list[Step]:
    """data → train.LABEL.SEED → sample.LABEL.SEED → evaluate.LABEL.SEED → compare, and data → features → evaluate.

    Branches share the data and what gives features alone, so they run side by side where there is room. A model's seed
    is that of its training and its samples; data and evaluations have the run's, so that every model sees the same splits and the rows
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
        data_step(config.data, seed, ask.data),
        features_step(config.evaluate, seed, ask.features),
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
    ask = config.resources
    yield train_step(sections.model, sections.train, number, ask.train, group)
    yield sample_step(sections.sample, number, ask.sample, group)
    scored = {"model": named("train", group), "samples": named("sample", group)}
    yield evaluate_step(config.evaluate, scored, seed, ask.evaluate, group)
