"""Options of the extractors that are trained."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config


class FittingConfig(Config):
    """How such a network is trained: by Adam, until held-out loss falls no more."""

    width: int = Field(32, ge=1, description="channels at full resolution, twice as many below (images, sequences)")
    hidden: int = Field(128, ge=1, description="width of the hidden layers (vectors)")
    learning_rate: float = Field(1e-3, gt=0, description="Adam's; a tenth of it once held-out loss falls no more")
    batch_size: int = Field(64, ge=1, description="examples of a step")
    max_steps: int = Field(20_000, ge=1, description="steps, at most")
    patience: int = Field(
        2, ge=1, description="times in a row that held-out loss, seen once an epoch, may fail to fall by 2 %"
    )
    seed: int = Field(0, description="seed of weights and order, and of what is held out of the split")


class ClassifierConfig(FittingConfig):
    """Options of the extractor `classifier`."""

    num_features: int = Field(64, ge=1, description="width of the last hidden layer, the features")
    channels_apart: bool = Field(
        False,
        description="each of an image's C channels shows one of n things, and classes are their n^C combinations, the "
        "first channel's leading (stacked digits): one network of n classes sees the channels one by one",
    )


class AutoencoderConfig(FittingConfig):
    """Options of the extractor `autoencoder`."""

    num_features: int | None = Field(
        None, ge=1, description="numbers in a code, the features; null is a quarter of the data's, 32 at most"
    )
