"""Options of naive Bayes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from genpipe.config import Config


class NaiveBayesConfig(Config):
    """Options of the family `naive_bayes`."""

    reg_covar: float = Field(1e-3, ge=0, description="added to every variance, network units squared")


class DiscreteNaiveBayesConfig(Config):
    """Options of the family `discrete_naive_bayes`."""

    conditionals: Literal["categorical", "bernoulli", "multinomial"] = Field(
        "categorical", description="of a number given its class: any of its levels; above or below the middle; counts"
    )
    alpha: float = Field(1.0, gt=0, description="examples of each outcome that are supposed before any is seen")
