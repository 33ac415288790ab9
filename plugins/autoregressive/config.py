"""Options of the autoregressive families."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from genpipe.config import Config


class AutoregressiveConfig(Config):
    """Options of the family `autoregressive`."""

    network: Literal["auto", "gated_pixelcnn", "pixelcnn_pp", "transformer", "recurrent", "made"] = Field(
        "auto",
        description="PixelCNN with logits of each level, PixelCNN++ with logistic mixtures, causal Transformer, LSTMs, "
        "or MADE; auto: gated_pixelcnn for images, transformer for sequences",
    )
    conditional: bool = Field(False, description="model each class by its label")
    channels: int = Field(
        32, ge=1, description="features of a layer, up to the next multiple of an image's channels, or of the heads"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate of each layer's features")
    num_layers: int = Field(6, ge=1, description="layers (all but PixelCNN++), residual blocks of MADE")
    kernel_size: int = Field(3, ge=1, le=31, description="width of the stacks' convolutions, odd (gated PixelCNN)")
    first_kernel_size: int = Field(7, ge=3, le=31, description="width of the first layer's, odd (gated PixelCNN)")
    num_resnets: int = Field(2, ge=1, description="gated residual blocks of each stream at a resolution (PixelCNN++)")
    num_halvings: int = Field(1, ge=0, le=6, description="times the resolution is halved (PixelCNN++)")
    num_mixtures: int = Field(5, ge=1, le=512, description="logistics of a pixel's mixture (PixelCNN++)")
    num_heads: int = Field(4, ge=1, le=64, description="heads of each layer's attention (Transformer)")
    hidden: int = Field(
        512,
        ge=1,
        description="width of the hidden layers; from one unit for each number on, it sees all before it (MADE)",
    )
    num_orders: int = Field(
        1, ge=1, le=64, description="orders of the numbers, whose probabilities are averaged (MADE)"
    )
    flatten: bool = Field(False, description="take images as rows of numbers, which is all that MADE sees in them")

    @model_validator(mode="after")
    def _checked(self) -> Self:
        for name in ("kernel_size", "first_kernel_size"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected an odd number")
        return self


class MADEConfig(Config):
    """Options of the family `made`."""

    conditional: bool = Field(False, description="model each class by its label")
    num_mixtures: int = Field(10, ge=1, le=512, description="Gaussians of a number's mixture")
    hidden: int = Field(
        128, ge=1, description="width of the hidden layers; from one unit for each number on, it sees all before it"
    )
    num_layers: int = Field(2, ge=0, description="residual blocks")
    num_orders: int = Field(1, ge=1, le=64, description="orders of the numbers, whose densities are averaged")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate within the residual blocks")
