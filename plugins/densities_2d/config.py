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


class CheckerboardConfig(Config):
    """Options of the data set `checkerboard`."""

    num_examples: int = Field(10_000, ge=2, description="examples drawn")
    side: float = Field(2.0, gt=0, description="side of each of the eight squares")
    std: float = Field(0.05, gt=0, description="standard deviation of the noise that blurs the squares' edges")


class PinwheelConfig(Config):
    """Options of the data set `pinwheel`. The defaults are those of Johnson et al. (2016)."""

    num_examples: int = Field(10_000, ge=2, description="examples drawn")
    num_arms: int = Field(5, ge=1, description="arms of the wheel")
    radius: float = Field(1.0, gt=0, description="distance of the middle of an arm from the wheel's centre")
    radial_std: float = Field(0.3, gt=0, description="standard deviation along an arm")
    tangential_std: float = Field(0.1, gt=0, description="standard deviation across an arm")
    rate: float = Field(0.25, description="an arm turns by rate times e to the distance from the centre, radians")


class SpiralsConfig(Config):
    """Options of the data set `spirals`."""

    num_examples: int = Field(10_000, ge=2, description="examples drawn")
    radius: float = Field(3.0, gt=0, description="distance of the arms' ends from the centre")
    std: float = Field(0.1, gt=0, description="standard deviation of the noise around the arms")
