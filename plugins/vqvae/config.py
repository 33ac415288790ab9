"""Options of the vector-quantised autoencoder."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config


class VQVAEConfig(Config):
    """Options of the family `vqvae`."""

    num_codes: int = Field(32, ge=2, le=65536, description="K, entries of the codebook")
    code_dim: int = Field(16, ge=1, description="D, numbers in an entry of the codebook")
    num_halvings: int = Field(2, ge=0, le=6, description="times the resolution is halved before tokens are made")
    channels: int = Field(16, ge=1, description="channels at full resolution; doubled at each halving")
    num_blocks: int = Field(1, ge=0, description="residual blocks at each resolution")
    num_mixtures: int = Field(3, ge=1, le=512, description="logistics of a pixel's mixture given the tokens")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate in residual blocks")
    commitment: float = Field(
        0.25, ge=0, description="weight of the pull of the encoder's outputs towards their entries (beta)"
    )
    codebook_decay: float = Field(
        0.99, ge=0, lt=1, description="decay of the running means that the codebook is made of"
    )
    revival_share: float = Field(
        0.05, ge=0, lt=1, description="entries used less than this share of an even use are revived; 0 revives none"
    )
