"""Options of kernel densities and histograms."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config


class KernelDensityConfig(Config):
    """Options of the family `kernel_density`."""

    bandwidth: float | None = Field(
        None, gt=0, description="standard deviation of each kernel, network units; null: by cross-validation"
    )
    num_validated: int = Field(
        2000, ge=2, description="examples that the bandwidth is cross-validated on, each left out in its turn"
    )


class HistogramConfig(Config):
    """Options of the family `histogram`."""

    num_bins: int | None = Field(
        None, ge=1, description="bins along each dimension, between its extremes; null: by cross-validation"
    )
    prior_examples: float = Field(
        1.0, gt=0, description="weight of the Gaussian that stands for what is in no box yet, in examples"
    )
