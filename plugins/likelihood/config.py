"""Options of the likelihood metric."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config


class LikelihoodConfig(Config):
    """Options of the metric `likelihood`."""

    num_dequantisations: int = Field(
        1, ge=1, le=1000, description="draws of the uniform noise on integer data, averaged per example"
    )
