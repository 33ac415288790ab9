"""The graph of the pipeline `single`."""

from __future__ import annotations

from genpipe.graph import Step
from genpipe.pipelines.evaluate.chosen import features_config
from genpipe.pipelines.single.config import SingleConfig
from genpipe.pipelines.train.config import TrainStageConfig


def build(config: SingleConfig, seed: int) -> list[Step]:
    """data → train → sample → evaluate → report, and data → features → evaluate beside training.

    Steps share the run's seed: what they draw is told apart by stream names, and a step whose config did not
    change keeps its key.
    """
    ask = config.resources
    return [
        Step(id="data", stage="data", config=config.data, seed=seed, resources=ask.data, workers=config.data.workers),
        Step(
            id="train",
            stage="train",
            config=TrainStageConfig(model=config.model, train=config.train),
            inputs={"data": "data"},
            seed=seed,
            resources=ask.train,
            workers=config.train.workers,
            min_workers=config.train.min_workers,
        ),
        Step(
            id="sample",
            stage="sample",
            config=config.sample,
            inputs={"model": "train", "data": "data"},
            seed=seed,
            resources=ask.sample,
            workers=config.sample.workers,
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
            inputs={"data": "data", "features": "features", "model": "train", "samples": "sample"},
            seed=seed,
            resources=ask.evaluate,
            workers=config.evaluate.workers,
        ),
        Step(
            id="report",
            stage="report",
            config=config.report,
            inputs={
                "data": "data",
                "features": "features",
                "model": "train",
                "samples": "sample",
                "evaluation": "evaluate",
            },
            seed=seed,
            resources=ask.report,
        ),
    ]
