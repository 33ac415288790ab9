"""The graph of the pipeline `compare`: one data step, a branch for each model and seed, and one table of them all."""

from __future__ import annotations

from collections.abc import Iterator

from genpipe.graph import Group, Step
from genpipe.pipelines.compare.config import CompareConfig, CompareStageConfig, ModelSections
from genpipe.pipelines.single.steps import (
    data_step,
    evaluate_step,
    features_step,
    final_model,
    model_steps,
    named,
    sample_step,
)


def build(config: CompareConfig, seed: int) -> list[Step]:
    """data → train.LABEL.SEED → sample.LABEL.SEED → evaluate.LABEL.SEED → compare, and data → features → evaluate.

    Branches share the data and what gives features alone, so they run side by side where there is room. A model's seed
    is that of its training and its samples; data and evaluations have the run's, so that every model sees the same splits and the rows
    that frame them (real data, copies, noise) are the same in all evaluations.
    """
    ask = config.resources
    options = CompareStageConfig(models=tuple(config.models), seeds=config.seeds, **dict(config.compare))
    inputs = {"data": "data"}
    for group, sections, _ in _members(config):
        inputs |= {
            f"evaluation.{group.name}": named("evaluate", group),
            f"samples.{group.name}": named("sample", group),
            f"model.{group.name}": final_model(sections.coder, group),
        }
    return [
        data_step(config.data, seed, ask.data),
        features_step(config.evaluate, seed, ask.features),
        *(step for member in _members(config) for step in _branch(*member, config, seed)),
        Step(id="compare", stage="compare", config=options, inputs=inputs, seed=seed, resources=ask.compare),
    ]


def _members(config: CompareConfig) -> Iterator[tuple[Group, ModelSections, int]]:
    """Each model with each seed, a seed after the other: a comparison that is stopped has each model once first."""
    for number in config.seeds:
        for label, sections in config.models.items():
            yield Group(name=f"{label}.{number}", section=f"models.{label}"), sections, number


def _branch(group: Group, sections: ModelSections, number: int, config: CompareConfig, seed: int) -> Iterator[Step]:
    ask, model = config.resources, final_model(sections.coder, group)
    yield from model_steps(sections.model, sections.train, sections.coder, number, ask.train, ask.train, group)
    yield sample_step(sections.sample, model, number, ask.sample, group)
    scored = {"model": model, "samples": named("sample", group)}
    yield evaluate_step(config.evaluate, scored, seed, ask.evaluate, group)
