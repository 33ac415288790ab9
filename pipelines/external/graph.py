"""The graph of the pipeline `external`."""

from __future__ import annotations

from genpipe.graph import Step
from genpipe.pipelines.external.config import ExternalConfig
from genpipe.pipelines.single.steps import data_step, evaluate_step, features_step


def build(config: ExternalConfig, seed: int) -> list[Step]:
    """data → samples and features → evaluate → report.

    Of a `single` run with the same section `data`, seed and features, the steps data and features are the same.
    """
    ask, scored = config.resources, {"samples": "samples"}
    return [
        data_step(config.data, seed, ask.data),
        Step(
            id="samples",
            stage="import_samples",
            config=config.samples,
            inputs={"data": "data"},
            seed=seed,
            resources=ask.samples,
        ),
        features_step(config.evaluate, seed, ask.features),
        evaluate_step(config.evaluate, scored, seed, ask.evaluate),
        Step(
            id="report",
            stage="report",
            config=config.report,
            inputs={"data": "data", "features": "features", **scored, "evaluation": "evaluate"},
            seed=seed,
            resources=ask.report,
        ),
    ]
