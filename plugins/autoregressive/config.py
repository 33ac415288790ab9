"""Options of the autoregressive family."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from genpipe.config import Config


class AutoregressiveConfig(Config):
    """Options of the family `autoregressive`."""

    network: Literal["gated_pixelcnn", "pixelcnn_pp"] = Field(
        "gated_pixelcnn", description="gated PixelCNN with logits of each level, or PixelCNN++ with logistic mixtures"
    )
    channels: int = Field(32, ge=1, description="features of a layer, up to the next multiple of the image's channels")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate of each layer's features")
    num_layers: int = Field(6, ge=1, description="layers of both stacks (gated PixelCNN)")
    kernel_size: int = Field(3, ge=1, le=31, description="width of the stacks' convolutions, odd (gated PixelCNN)")
    first_kernel_size: int = Field(7, ge=3, le=31, description="width of the first layer's, odd (gated PixelCNN)")
    num_resnets: int = Field(2, ge=1, description="gated residual blocks of each stream at a resolution (PixelCNN++)")
    num_halvings: int = Field(1, ge=0, le=6, description="times the resolution is halved (PixelCNN++)")
    num_mixtures: int = Field(5, ge=1, le=512, description="logistics of a pixel's mixture (PixelCNN++)")

    @model_validator(mode="after")
    def _checked(self) -> Self:
        for name in ("kernel_size", "first_kernel_size"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected an odd number")
        return self
