"""Options of the mixture of Gaussians."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from genpipe.config import Config

Covariance = Literal["full", "tied", "diagonal", "spherical"]


class MixtureConfig(Config):
    """Options of the family `gaussian_mixture`."""

    num_components: int = Field(10, ge=1, description="Gaussians in the mixture; 1 is the single Gaussian")
    covariance: Covariance = Field("full", description="shape of each covariance matrix; tied: one for all")
    algorithm: Literal["em", "kmeans"] = Field(
        "em", description="em; or kmeans: the nearest centre takes an example whole, and its Gaussian is fitted last"
    )
    reg_covar: float = Field(1e-3, gt=0, description="added to every covariance's diagonal, network units squared")
    shrinkage: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="full and tied covariances: share by which entries off the diagonal are shrunk to zero",
    )
    tolerance: float = Field(
        1e-4,
        ge=0,
        description="stop when an iteration gains less: nats per example; for kmeans a share of the distances",
    )
    max_iterations: int = Field(200, ge=1, description="most iterations from one start")
    num_starts: int = Field(1, ge=1, description="initialisations; the best is kept")
