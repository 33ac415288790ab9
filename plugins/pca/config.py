"""Options of the extractor `pca`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from genpipe.config import Config


class PCAConfig(Config):
    """Options of the extractor `pca`."""

    num_components: int | None = Field(
        None, ge=1, description="dimensions of the features; null takes as many as the data has, up to 64"
    )
    whiten: bool = Field(False, description="divide each component by its standard deviation in the training split")
    solver: Literal["auto", "eigh", "randomised"] = Field(
        "auto",
        description="eigh: the whole covariance, in one pass; randomised: the leading components alone, in passes over "
        "the data and without a D×D matrix; auto: eigh up to 2048 dimensions",
    )
    num_passes: int = Field(
        6, ge=1, description="passes of the solver 'randomised': more are sharper where eigenvalues lie close together"
    )
