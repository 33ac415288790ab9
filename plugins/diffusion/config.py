"""Options of the diffusion family."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from genpipe.config import Config


class DiffusionConfig(Config):
    """Options of the family `diffusion`."""

    num_timesteps: int = Field(1000, ge=2, description="T, steps of the noising process")
    schedule: Literal["squaredcos_cap_v2", "linear", "scaled_linear", "sigmoid"] = Field(
        "squaredcos_cap_v2", description="noise schedule"
    )
    prediction_type: Literal["epsilon", "v_prediction"] = Field(
        "v_prediction", description="what the network predicts: the noise, or v (Salimans & Ho, 2022)"
    )
    variance_type: Literal["fixed_small", "fixed_large"] = Field(
        "fixed_large", description="variance of a reverse step: the posterior's, or beta, which bounds tighter"
    )
    bound_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of training examples whose timestep is drawn as the bound weighs it",
    )
    num_sampling_steps: int = Field(100, ge=1, description="network evaluations per sample unless the sampler says")
    clip: bool = Field(True, description="keep the denoised x0 in the data's range (images)")
    num_bound_evaluations: int = Field(
        64, ge=2, multiple_of=2, description="network evaluations per example that estimate the bound"
    )
    channels: int = Field(32, ge=4, multiple_of=4, description="channels of the U-Net at full resolution (images)")
    channel_multipliers: tuple[PositiveInt, ...] = Field(
        (1, 2),
        min_length=1,
        max_length=6,
        description="channels at each resolution, each half the one before",
    )
    num_blocks: int = Field(1, ge=1, description="residual blocks at each resolution, or in the MLP")
    attention: bool = Field(True, description="self-attention at the lowest resolution (images)")
    hidden: int = Field(128, ge=1, description="width of the MLP (vectors)")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate in residual blocks")
    fourier_features: bool = Field(
        True, description="feed sines of the position within a bin, for integer data (Kingma et al., 2021)"
    )
