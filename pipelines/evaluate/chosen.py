"""Which metrics an evaluation has, and the features that each rests on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from genpipe.components import Axis, Metric
from genpipe.config import Component
from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.pipelines.evaluate.config import EvaluateConfig
from genpipe.pipelines.features.config import FeaturesConfig
from genpipe.registry import Registry
from genpipe.validation import restore_config

if TYPE_CHECKING:
    from genpipe.pipelines.features.kept import KeptFeatures  # with torch, which planning does without

AXES: tuple[Axis, ...] = get_args(Axis)


@dataclass(frozen=True, kw_only=True)
class ChosenMetric:
    """One metric of an evaluation. label: its name, and what tells it from others of that name; extractor: by its id
    in the features artifact."""

    label: str
    choice: Component
    record: Metric
    extractor: str


def own_features(metric: Component) -> Component | None:
    """The extractor that a metric's options name."""
    named = getattr(metric.config, "features", None)
    return named if isinstance(named, Component) and named.kind == "feature_extractor" else None


def features_config(config: EvaluateConfig) -> FeaturesConfig:
    """Of the stage `features` that goes before: all the extractors that an evaluation names."""
    named = [own for metric in config.metrics or () if (own := own_features(metric)) is not None]
    others: list[Component] = []
    for component in named:
        if component != config.features and component not in others:
            others.append(component)
    return FeaturesConfig(
        default=config.features, others=tuple(others), batch_size=config.batch_size, workers=config.workers
    )


def candidates(config: EvaluateConfig, registry: Registry) -> Iterator[Component]:
    """The metrics that belong to the default table of some data."""
    if config.metrics is None:
        yield from (
            Component("metric", provided.record.name, restore_config(provided.record.config_class, {}, registry))
            for provided in registry.all("metric")
            if provided.record.defaults_for
        )


def choose_metrics(
    config: EvaluateConfig,
    spec: DataSpec,
    kept: KeptFeatures,
    registry: Registry,
    *,
    has_model: bool,
    has_density: bool,
) -> tuple[ChosenMetric, ...]:
    """Those that were named; else those for this kind of data, by axis, that can have a number here.

    has_model: whether there is more than samples; has_density: whether the true density is known.
    """
    if config.metrics is not None:
        metrics: Sequence[Component] = config.metrics
    else:
        has_logits = kept[kept.id_of(config.features)].num_logits is not None
        kinds = {spec.event} | ({"2d"} if spec.event == "vector" and spec.shape == (2,) else set())
        possible = {"samples", "features"} | ({"likelihood"} if has_model else set())
        possible |= ({"densities"} if has_density else set()) | ({"logits"} if has_logits else set())
        records = {c.name: registry.get("metric", c.name) for c in candidates(config, registry)}
        named = {c.name for c in candidates(config, registry) if own_features(c) is not None}  # not prepared
        fitting = [n for n, record in records.items() if kinds & set(record.defaults_for) and n not in named]
        fitting = [name for name in fitting if records[name].needs in possible]
        fitting.sort(key=lambda name: AXES.index(records[name].axis))
        metrics = [c for name in fitting for c in candidates(config, registry) if c.name == name]
        if not metrics:
            raise UsageError(f"no metric that is installed says that it is for data such as '{spec.name}': name some")
    chosen = []
    for metric, label in zip(metrics, _labels(metrics), strict=True):
        record: Metric = registry.get("metric", metric.name)
        extractor = kept.id_of(own_features(metric) or config.features)
        if record.needs == "logits" and kept[extractor].num_logits is None:
            raise UsageError(
                f"metric '{metric.name}' needs an extractor with logits, and '{kept[extractor].name}' has none"
            )
        chosen.append(ChosenMetric(label=label, choice=metric, record=record, extractor=extractor))
    return tuple(chosen)


def _labels(metrics: Sequence[Component]) -> list[str]:
    """Each its own: the name, with the extractor where several have that name, with a number where that is not enough."""
    names = Counter(metric.name for metric in metrics)
    labels: list[str] = []
    for metric in metrics:
        label, own = metric.name, own_features(metric)
        if names[metric.name] > 1 and own is not None:
            label = f"{metric.name}({own.name})"
        count = 1
        while label in labels:
            count += 1
            label = f"{label.partition(' #')[0]} #{count}"
        labels.append(label)
    return labels
