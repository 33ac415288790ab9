"""The graph of the pipeline `external`."""

from __future__ import annotations

from genpipe.graph import Step
from genpipe.pipelines.evaluate.chosen import features_config
from genpipe.pipelines.external.config import ExternalConfig


def build(config: ExternalConfig, seed: int) -> list[Step]:
    """data → samples and features → evaluate → report.

    Of a `single` run with the same section `data`, seed and features, the steps data and features are the same.
    """
    ask = config.resources
    return [
        Step(id="data", stage="data", config=config.data, seed=seed, resources=ask.data, workers=config.data.workers),
        Step(
            id="samples",
            stage="import_samples",
            config=config.samples,
            inputs={"data": "data"},
            seed=seed,
            resources=ask.samples,
        ),
        Step(
            id="features",
            stage="features",
            config=features_config(config.evaluate),
            inputs={"data": "data"},
            seed=seed,
            resources=ask.features,
            workers=config.evaluate.workers,
        ),
        Step(
            id="evaluate",
            stage="evaluate",
            config=config.evaluate,
            inputs={"data": "data", "features": "features", "samples": "samples"},
            seed=seed,
            resources=ask.evaluate,
            workers=config.evaluate.workers,
        ),
        Step(
            id="report",
            stage="report",
            config=config.report,
            inputs={"data": "data", "features": "features", "samples": "samples", "evaluation": "evaluate"},
            seed=seed,
            resources=ask.report,
        ),
    ]
