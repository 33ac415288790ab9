"""Mistakes of an evaluation's section that show only beside the data's."""

from __future__ import annotations

from collections.abc import Iterator

from genpipe.components import FeatureExtractor
from genpipe.config import Component
from genpipe.pipelines.data.config import DataConfig
from genpipe.pipelines.evaluate.chosen import own_features
from genpipe.pipelines.evaluate.config import EvaluateConfig
from genpipe.registry import Registry


def check_evaluation(data: DataConfig, evaluate: EvaluateConfig, registry: Registry) -> Iterator[tuple[str, str]]:
    """(key, message) of each mistake between the sections `data` and `evaluate`, for pipelines that have them."""
    metrics = evaluate.metrics or ()
    for number, metric in enumerate(metrics):
        times = metrics.count(metric)
        if times > 1 and metrics.index(metric) == number:
            yield "evaluate.metrics", f"metric '{metric.name}' is given {times} times with the same options"
    if evaluate.features is not None:
        yield from _features(evaluate.features, "evaluate.features", data, registry)
    for number, metric in enumerate(metrics):
        own, key = own_features(metric), f"evaluate.metrics.{number}"
        if own is not None:
            yield from _features(own, f"{key}.features", data, registry)
        if registry.get("metric", metric.name).needs == "logits":
            yield from _logits(metric, own or evaluate.features, key, registry)


def _features(component: Component, key: str, data: DataConfig, registry: Registry) -> Iterator[tuple[str, str]]:
    extractor: FeatureExtractor = registry.get("feature_extractor", component.name)
    dataset = registry.get("dataset", data.dataset.name)
    if not set(dataset.events) & set(extractor.events):
        takes, has = (" and ".join(f"{event}s" for event in events) for events in (extractor.events, dataset.events))
        yield key, f"'{extractor.name}' takes {takes}, and data set '{dataset.name}' has {has}"
    if extractor.trains and data.features_fraction == 0:
        yield (
            key,
            f"'{extractor.name}' is trained on examples that neither the model nor the table sees, and none are set "
            "aside: set data.features_fraction, the share of the data for it (0.2, say)",
        )


def _logits(metric: Component, component: Component | None, key: str, registry: Registry) -> Iterator[tuple[str, str]]:
    known = [p.record.name for p in registry.all("feature_extractor") if p.record.has_logits]
    if component is None or component.name not in known:
        given = "no features are named" if component is None else f"the features '{component.name}' have none"
        yield key, f"metric '{metric.name}' needs logits, and {given}; those that have: {', '.join(known) or 'none'}"
