"""Options of the metric of outliers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from genpipe.config import Config, DatasetChoice


class OutliersConfig(Config):
    """Options of the metric `outliers`."""

    out: Literal["noise", "shuffled", "smooth"] = Field(
        "noise",
        description="what is no data: noise in the data's range, or of held-out images shuffled pixels or 3 × 3 means",
    )
    dataset: DatasetChoice | None = Field(
        None, description="another data set of the same shape and units whose examples are out, in place of these"
    )
