"""Mistakes of an `external` recipe that only show between its sections."""

from __future__ import annotations

from collections.abc import Iterator

from genpipe.pipelines.evaluate.check import check_evaluation
from genpipe.pipelines.external.config import ExternalConfig
from genpipe.registry import Registry


def check(config: ExternalConfig, registry: Registry) -> Iterator[tuple[str, str]]:
    """(key, message) of each mistake."""
    yield from check_evaluation(config.data, config.evaluate, registry)
    for choice in config.evaluate.metrics or ():
        if registry.get("metric", choice.name).needs == "likelihood":
            yield (
                "evaluate.metrics",
                f"'{choice.name}' asks a model for densities, and there are samples alone: leave it out",
            )
