"""Options of the energy-based model."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from genpipe.config import Config


class EnergyConfig(Config):
    """Options of the family `energy`."""

    training: Literal["persistent_cd", "denoising_score_matching", "noise_contrastive"] = Field(
        "persistent_cd",
        description="what teaches the energy: chains of its own samples, noise to take off, or noise to tell from data",
    )
    hidden: int = Field(128, ge=1, description="width of the network's hidden layers")
    num_layers: int = Field(3, ge=1, description="hidden layers of the network (vectors)")
    num_frequencies: int = Field(
        3, ge=0, le=16, description="waves of each number that the network sees beside it, of 1, 2, 4, … (vectors)"
    )
    channels: int = Field(32, ge=1, description="channels at full resolution, doubled where it is halved (images)")
    base: Literal["auto", "full", "diagonal"] = Field(
        "auto", description="covariance of the Gaussian that the network tilts; auto: full up to 1024 dimensions"
    )
    base_steps: int = Field(100, ge=1, description="first training steps, whose examples that Gaussian is fitted to")
    chain_steps: int = Field(
        10, ge=1, description="Langevin steps that move a chain in a training step (persistent_cd)"
    )
    step_size: float = Field(
        0.1, gt=0, description="first Langevin step, squared deviations of the base; chains fit it as they go"
    )
    num_chains: int = Field(512, ge=1, description="chains kept between steps, no fewer than a batch (persistent_cd)")
    restart: float = Field(0.05, ge=0, le=1, description="share of chains that begin anew at the base (persistent_cd)")
    regularization: float = Field(
        0.01, ge=0, description="weight of the squared tilt, of data and chains (persistent_cd)"
    )
    noise_std: float = Field(
        0.3, gt=0, description="deviation of the noise to take off, in the base's (denoising_score_matching)"
    )
    noise_std_max: float | None = Field(
        None,
        gt=0,
        description="half of the examples have more noise, up to this; null: noise_std alone (denoising_score_matching)",
    )
    noise_ratio: int = Field(4, ge=1, description="draws of the base for each example (noise_contrastive)")

    @model_validator(mode="after")
    def _levels_in_order(self) -> Self:
        if self.noise_std_max is not None and self.noise_std_max < self.noise_std:
            raise ValueError(
                f"noise_std_max is {self.noise_std_max:g}, below noise_std, {self.noise_std:g}: it is the highest level"
            )
        return self
