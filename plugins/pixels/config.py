"""Options of the extractors of plain values."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config


class IdentityConfig(Config):
    """`identity` has no options."""


class StandardiseConfig(Config):
    """Options of the extractor `standardise`."""

    min_relative_std: float = Field(
        0.1,
        ge=0,
        le=1,
        description="images and sequences: smallest divisor, relative to the root mean square of all "
        "positions' deviations, so that a pixel that is nearly always blank does not outweigh the rest",
    )
