"""Options of the two-dimensional data sets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from genpipe.config import Config


class GaussiansConfig(Config):
    """Options of the data set `gaussians_2d`. The defaults are those of Srivastava et al. (2017), VEEGAN."""

    layout: Literal["ring", "grid"] = Field("ring", description="8 modes on a circle, or 5 × 5 on a square grid")
    num_examples: int = Field(10_000, ge=2, description="examples drawn")
    radius: float = Field(2.0, gt=0, description="radius of the ring")
    spacing: float = Field(2.0, gt=0, description="distance between neighbours in the grid")
    std: float = Field(0.05, gt=0, description="standard deviation of each mode, in both directions")


class MoonsConfig(Config):
    """Options of the data set `moons`."""

    num_examples: int = Field(10_000, ge=2, description="examples drawn")
    std: float = Field(0.05, gt=0, description="standard deviation of the noise around the half circles")
