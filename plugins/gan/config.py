"""Options of the generative adversarial network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from genpipe.config import Config


class GANConfig(Config):
    """Options of the family `gan`."""

    loss: Literal["wgan_gp", "non_saturating", "hinge"] = Field(
        "wgan_gp",
        description="what generator and critic play for: Wasserstein with gradient penalty, or a classifier's",
    )
    latent_dim: int = Field(32, ge=1, description="numbers in a latent code")
    hidden: int = Field(128, ge=1, description="width of the three hidden layers of each network (vectors)")
    channels: int = Field(32, ge=1, description="channels at full resolution; doubled at each halving (images)")
    num_halvings: int = Field(2, ge=0, le=6, description="times the resolution is halved (images)")
    conditional: bool = Field(False, description="model each class by its label")
    num_critic_steps: int = Field(
        3, ge=1, description="steps of the critic before each one of the generator; train.steps counts both"
    )
    gradient_penalty: float = Field(10.0, ge=0, description="weight of the penalty on the critic's slope (wgan_gp)")
    spectral_norm: bool | None = Field(
        None, description="whether the critic's layers are divided by their norm; null: with the hinge loss"
    )
