"""Options of the Gaussian."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from genpipe.config import Config


class GaussianConfig(Config):
    """Options of the family `gaussian`."""

    covariance: Literal["full", "diagonal"] = Field("full", description="shape of the covariance matrix")
    reg_covar: float = Field(1e-3, ge=0, description="added to the covariance's diagonal, network units squared")
    shrinkage: float = Field(
        0.0, ge=0, le=1, description="full covariance: share by which entries off the diagonal are shrunk to zero"
    )
    conditional: bool = Field(False, description="model each class by its label")
