"""Options of the stage `compose`."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config, FamilyChoice


class ComposeStageConfig(Config):
    """Options of the stage `compose`."""

    # A name, which the registry resolves.
    model: FamilyChoice = Field("two_stage", description="the composed family, with its options")  # type: ignore[assignment]
