"""The graph of the pipeline `single`."""

from __future__ import annotations

from genpipe.graph import Step
from genpipe.pipelines.single.config import SingleConfig
from genpipe.pipelines.single.steps import (
    data_step,
    evaluate_step,
    features_step,
    final_model,
    model_steps,
    sample_step,
)


def build(config: SingleConfig, seed: int) -> list[Step]:
    """data → train → sample → evaluate → report, and data → features → evaluate beside training.

    With a coder: data → coder → encode → train → compose → sample …, where `train` sees the codes.

    Steps share the run's seed: what they draw is told apart by stream names, and a step whose config did not
    change keeps its key.
    """
    ask, scored = config.resources, {"model": final_model(config.coder), "samples": "sample"}
    return [
        data_step(config.data, seed, ask.data),
        *model_steps(config.model, config.train, config.coder, seed, ask.train, ask.coder),
        sample_step(config.sample, scored["model"], seed, ask.sample),
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
