"""Options of the autoencoder."""

from __future__ import annotations

from pydantic import Field

from genpipe.networks.config import CoderConfig


class AutoencoderConfig(CoderConfig):
    """Options of the family `autoencoder`."""

    latent_dim: int = Field(16, ge=1, description="numbers in a code")
    noise_std: float = Field(
        0.0,
        ge=0,
        description="deviation of the noise to restore examples from while training, network units; 0 is plain",
    )
