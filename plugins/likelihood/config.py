"""Options of the likelihood metric."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config


class EstimatorConfig(Config):
    """One estimator of a family's likelihood."""

    name: str = Field(
        description="one that the family has: iwae, ais, probability_flow, …; rows without it have no cell"
    )
    num_samples: int | None = Field(
        None, ge=1, description="codes, chains or probes for each example; null is the family's default"
    )
    num_steps: int | None = Field(
        None, ge=1, description="temperatures, or steps of a solver; null is the family's default"
    )
    max_examples: int | None = Field(
        None, ge=1, description="held-out examples that it is asked about, the first of the row; null for all"
    )
    tolerance: float = Field(
        0.1, gt=0, description="nats; where the estimator's own check finds it further off, the cell says so"
    )


class LikelihoodConfig(Config):
    """Options of the metric `likelihood`."""

    num_dequantisations: int = Field(
        1, ge=1, le=1000, description="draws of the uniform noise on integer data, averaged per example"
    )
    estimators: tuple[EstimatorConfig, ...] = Field(
        (), description="other ways to the likelihood, each a column of its own, beside the family's own"
    )
