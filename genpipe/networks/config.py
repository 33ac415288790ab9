"""Options of an encoder and a decoder, for families to build their own on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from genpipe.config import Config


class CoderConfig(Config):
    """What genpipe.networks.coders builds by."""

    network: Literal["mlp", "convolutional", "resnet"] | None = Field(
        None, description="of encoder and decoder; null is convolutional for images and an MLP for vectors"
    )
    channels: int = Field(32, ge=1, description="channels at full resolution; doubled at each halving (images)")
    num_halvings: int = Field(2, ge=0, le=6, description="times the resolution is halved (images)")
    num_blocks: int = Field(1, ge=1, description="residual blocks at each resolution (resnet)")
    hidden: int = Field(256, ge=1, description="width of the hidden layers (mlp)")
    num_layers: int = Field(2, ge=1, description="hidden layers (mlp)")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate in encoder and decoder")
