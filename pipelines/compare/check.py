"""Mistakes of a `compare` recipe that only show between its sections."""

from __future__ import annotations

from collections.abc import Iterator

from genpipe.pipelines.compare.config import CompareConfig
from genpipe.pipelines.evaluate.check import check_evaluation
from genpipe.pipelines.single.check import check_model
from genpipe.registry import Registry


def check(config: CompareConfig, registry: Registry) -> Iterator[tuple[str, str]]:
    """(key, message) of each mistake."""
    for label, sections in config.models.items():
        mistakes = check_model(config.data, sections.coder, sections.model, sections.train, sections.sample, registry)
        for key, message in mistakes:
            yield f"models.{label}.{key}", message
    yield from check_evaluation(config.data, config.evaluate, registry)
