"""Options of two models as one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from genpipe.config import Config


class TwoStageConfig(Config):
    """Options of the family `two_stage`."""

    output: Literal["draw", "mean"] = Field(
        "draw", description="samples with the decoder's noise, draws of what log_prob bounds, or its mean alone"
    )
    num_elbo_samples: int = Field(8, ge=1, description="codes drawn per example to average the bound over (real codes)")
