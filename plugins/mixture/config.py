"""Options of the mixture of Gaussians."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from genpipe.config import Config


class MixtureConfig(Config):
    """Options of the family `gaussian_mixture`."""

    num_components: int = Field(10, ge=1, description="Gaussians in the mixture; 1 is the single Gaussian")
    covariance: Literal["full", "diagonal"] = Field("full", description="shape of each covariance matrix")
    reg_covar: float = Field(1e-3, gt=0, description="added to every covariance's diagonal, network units squared")
    shrinkage: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="full covariances: share by which entries off the diagonal are shrunk to zero",
    )
    tolerance: float = Field(1e-4, ge=0, description="stop when the mean log-likelihood gains less, nats")
    max_iterations: int = Field(200, ge=1, description="most iterations of EM from one start")
    num_starts: int = Field(1, ge=1, description="initialisations; the best likelihood is kept")
