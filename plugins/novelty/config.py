"""Options of the novelty metric."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config


class NoveltyConfig(Config):
    """Options of the metric `novelty`."""

    quantile: float = Field(
        0.01,
        gt=0,
        le=0.5,
        description="a sample counts as a copy below this quantile of held-out data's distance ratios",
    )
    num_cells: int = Field(
        10, ge=1, le=1000, description="cells around training examples in which distances are compared for C_T"
    )
    min_in_cell: int = Field(
        20, ge=2, description="held-out examples, and samples, that a cell needs to count for C_T (Meehan et al.: 20)"
    )
