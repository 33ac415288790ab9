"""Mistakes of a `single` recipe that only show between its sections."""

from __future__ import annotations

from collections.abc import Iterator

from genpipe.capabilities import kinds, that_model
from genpipe.components import Dataset, EventKind, Family, load_reference
from genpipe.config import Component
from genpipe.errors import UsageError, nearest
from genpipe.pipelines.data.config import DataConfig
from genpipe.pipelines.evaluate.check import check_evaluation
from genpipe.pipelines.evaluate.config import EvaluateConfig
from genpipe.pipelines.sample.config import SampleConfig
from genpipe.pipelines.single.coder import CoderSections
from genpipe.pipelines.single.config import SingleConfig
from genpipe.registry import Registry
from genpipe.sampler import choose_sampler
from genpipe.training.config import TrainConfig


def check(config: SingleConfig, registry: Registry) -> Iterator[tuple[str, str]]:
    """(key, message) of each mistake."""
    yield from check_model(config.data, config.coder, config.model, config.train, config.sample, registry)
    yield from check_evaluation(config.data, config.evaluate, registry)
    yield from _estimators(config.evaluate, whole_family(config.coder, config.model, registry))


def check_model(
    data: DataConfig,
    coder: CoderSections | None,
    model: Component,
    train: TrainConfig,
    sample: SampleConfig,
    registry: Registry,
) -> Iterator[tuple[str, str]]:
    """Mistakes between the sections `data`, `coder`, `model`, `train` and `sample`."""
    dataset = registry.get("dataset", data.dataset.name)
    family: Family = registry.get("family", model.name)
    if coder is None:
        yield from _events("model", family, dataset.events, f"data set '{dataset.name}' has", registry)
    else:
        yield from _coder(coder, family, dataset, registry)
        yield from _training("coder.train", data, registry.get("family", coder.model.name), coder.train)
        yield from _labels("coder.model", coder.model, dataset, registry)
    if family.training == "composed":
        yield (
            "model",
            f"family '{family.name}' is made of trained models: name what makes codes in the section `coder`, and what "
            "models these here",
        )
        return
    yield from _training("train", data, family, train)
    yield from _labels("model", model, dataset, registry)
    yield from _sampling(sample, whole_family(coder, model, registry), family, model)


def whole_family(coder: CoderSections | None, model: Component, registry: Registry) -> Family:
    """What samples are drawn from, as it is configured: the model's family, or with a coder what both are together."""
    family: Family = registry.get("family", model.name).configured(model.config)
    if coder is None:
        return family
    whole: Family = registry.get("family", coder.compose.name)
    if set(whole.parts) != {"coder", "prior"}:
        return whole  # a mistake that is told elsewhere
    coding: Family = registry.get("family", coder.model.name).configured(coder.model.config)
    return whole.made_of({"coder": coding, "prior": family})


def _coder(coder: CoderSections, prior: Family, dataset: Dataset, registry: Registry) -> Iterator[tuple[str, str]]:
    family: Family = registry.get("family", coder.model.name)
    yield from _events("coder.model", family, dataset.events, f"data set '{dataset.name}' has", registry)
    lacking = [capability for capability in ("encode", "decode") if capability not in family.capabilities]
    if lacking:
        yield (
            "coder.model",
            f"family '{family.name}' has no {' and no '.join(lacking)}: codes have to go there and back",
        )
    kind = coder.encode.event or family.codes
    if kind is not None and prior.training != "composed":
        yield from _events("model", prior, (kind,), f"as data the codes of '{family.name}' are", registry)
    whole: Family = registry.get("family", coder.compose.name)
    if set(whole.parts) != {"coder", "prior"}:
        yield "coder.compose", f"family '{whole.name}' is not made of a coder and a prior"


def _events(
    key: str, family: Family, events: tuple[EventKind, ...], whose: str, registry: Registry
) -> Iterator[tuple[str, str]]:
    if not set(events) & set(family.events):
        others = that_model(events, registry)
        yield key, f"family '{family.name}' models {kinds(family.events)}, and {whose} {kinds(events)}{others}"


def _training(key: str, data: DataConfig, family: Family, train: TrainConfig) -> Iterator[tuple[str, str]]:
    if family.training == "closed_form" and train.workers > 1:
        yield (
            f"{key}.workers",
            f"family '{family.name}' is fitted in closed form, by one worker, not {train.workers}: set it to 1",
        )
    if train.validate_every is not None and family.training == "gradient" and data.validation_fraction == 0:
        yield (
            f"{key}.validate_every",
            "there is no validation split to look at: set data.validation_fraction, such as to 0.1",
        )
    if train.batch_size < train.workers:
        yield (
            f"{key}.workers",
            f"{train.workers} workers share batches of {train.batch_size}, and each needs an example",
        )


def _labels(key: str, model: Component, dataset: Dataset, registry: Registry) -> Iterator[tuple[str, str]]:
    family: Family = registry.get("family", model.name)
    if family.takes_labels(model.config) and dataset.labelled is False:
        key = f"{key}.conditional" if hasattr(model.config, "conditional") else key
        yield key, f"family '{family.name}' models each class by its label, and data set '{dataset.name}' has no labels"


def _sampling(sample: SampleConfig, family: Family, named: Family, model: Component) -> Iterator[tuple[str, str]]:
    """family: what is drawn from; named: that of the section `model`, whose samplers it has."""
    if "sample" not in family.capabilities:
        yield "model", f"family '{family.name}' cannot sample, and the pipeline draws samples"
        return
    try:
        sampler = choose_sampler(family, sample.sampler)
        if named.check_sampler is not None:
            load_reference(named.check_sampler)(model.config, sampler)
    except UsageError as error:
        yield "sample.sampler", str(error)
    if sample.labels and not family.conditional:
        remedy = ": set model.conditional to true" if named.conditional else ""
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
