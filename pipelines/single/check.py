"""Mistakes of a `single` recipe that only show between its sections."""

from __future__ import annotations

from collections.abc import Iterator

from genpipe.components import Family
from genpipe.config import Component
from genpipe.errors import UsageError, nearest
from genpipe.pipelines.data.config import DataConfig
from genpipe.pipelines.evaluate.check import check_evaluation
from genpipe.pipelines.evaluate.config import EvaluateConfig
from genpipe.pipelines.sample.config import SampleConfig
from genpipe.pipelines.single.config import SingleConfig
from genpipe.registry import Registry
from genpipe.sampler import choose_sampler
from genpipe.training.config import TrainConfig


def check(config: SingleConfig, registry: Registry) -> Iterator[tuple[str, str]]:
    """(key, message) of each mistake."""
    yield from check_model(config.data, config.model, config.train, config.sample, registry)
    yield from check_evaluation(config.data, config.evaluate, registry)
    yield from _estimators(config.evaluate, registry.get("family", config.model.name))


def check_model(
    data: DataConfig, model: Component, train: TrainConfig, sample: SampleConfig, registry: Registry
) -> Iterator[tuple[str, str]]:
    """Mistakes between the sections `data`, `model`, `train` and `sample`."""
    dataset = registry.get("dataset", data.dataset.name)
    family: Family = registry.get("family", model.name)
    if not set(dataset.events) & set(family.events):
        yield (
            "model",
            f"family '{family.name}' models {_plural(family.events)}, and data set '{dataset.name}' has "
            f"{_plural(dataset.events)}",
        )
    if family.training == "closed_form" and train.workers > 1:
        yield (
            "train.workers",
            f"family '{family.name}' is fitted in closed form, by one worker, not {train.workers}: set it to 1",
        )
    if train.batch_size < train.workers:
        yield (
            "train.workers",
            f"{train.workers} workers share batches of {train.batch_size}, and each needs an example",
        )
    if family.takes_labels(model.config) and dataset.labelled is False:
        key = "model.conditional" if hasattr(model.config, "conditional") else "model"
        yield key, f"family '{family.name}' models each class by its label, and data set '{dataset.name}' has no labels"
    yield from _sampling(sample, family, model)


def _sampling(sample: SampleConfig, family: Family, model: Component) -> Iterator[tuple[str, str]]:
    if "sample" not in family.capabilities:
        yield "model", f"family '{family.name}' cannot sample, and the pipeline draws samples"
        return
    try:
        choose_sampler(family, sample.sampler)
    except UsageError as error:
        yield "sample.sampler", str(error)
    if sample.labels and not family.takes_labels(model.config):
        remedy = ": set model.conditional to true" if family.conditional else ""
        yield "sample.labels", f"a model of family '{family.name}' takes no labels{remedy}"


def _estimators(evaluate: EvaluateConfig, family: Family) -> Iterator[tuple[str, str]]:
    """Of a metric's option `estimators`: those that the one family here does not have."""
    for number, metric in enumerate(evaluate.metrics or ()):
        for position, asked in enumerate(getattr(metric.config, "estimators", ())):
            key, known = f"evaluate.metrics.{number}.estimators.{position}", family.estimators.get(asked.name)
            if known is None:
                hint = nearest(asked.name, family.estimators)
                yield f"{key}.name", f"family '{family.name}' has no estimator '{asked.name}' of its likelihood{hint}"
                continue
            for option in ("num_samples", "num_steps"):
                if getattr(asked, option, None) is not None and option not in known:
                    yield f"{key}.{option}", f"the estimator '{asked.name}' has no {option}; it has {', '.join(known)}"


def _plural(events: tuple[str, ...]) -> str:
    return " and ".join(f"{event}s" for event in events)
