"""Options of the extractor `random_conv`."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from genpipe.config import Config


class RandomConvConfig(Config):
    """Options of the extractor `random_conv`. The features have 2 · (sum of channels) dimensions."""

    channels: tuple[PositiveInt, ...] = Field(
        (16, 32, 32),
        min_length=1,
        max_length=8,
        description="channels of each layer; each after the first sees half the resolution. Twice their sum are the "
        "features' dimensions: 160 by default",
    )
    kernel_size: int = Field(3, ge=1, le=15, description="width of the kernels, an odd number")
    seed: int = Field(0, description="seed of the weights")
    num_calibration: int = Field(
        2048, ge=2, description="training examples, chosen by hash, by which each channel is standardised"
    )
