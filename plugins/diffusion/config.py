"""Options of the families `diffusion` and `flow_matching`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from genpipe.config import Config


class DenoiserConfig(Config):
    """Options of the network, whatever it learns to predict."""

    conditional: bool = Field(False, description="model each class by its label")
    label_dropout: float = Field(
        0.1, ge=0, lt=1, description="share of training examples whose label is hidden, for guidance (conditional)"
    )
    clip: bool = Field(True, description="keep the denoised x0 in the data's range, where it has one")
    channels: int = Field(32, ge=4, multiple_of=4, description="channels of the U-Net at full resolution (images)")
    channel_multipliers: tuple[PositiveInt, ...] = Field(
        (1, 2),
        min_length=1,
        max_length=6,
        description="channels at each resolution, each half the one before",
    )
    num_blocks: int = Field(1, ge=1, description="residual blocks at each resolution; an MLP has one more")
    attention: bool = Field(True, description="self-attention at the lowest resolution (images)")
    hidden: int = Field(128, ge=1, description="width of the MLP (vectors)")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate in residual blocks")
    fourier_features: bool = Field(
        True,
        description="feed sines of the position within a bin, for images of up to 256 levels (Kingma et al., 2021)",
    )


class DiffusionConfig(DenoiserConfig):
    """Options of the family `diffusion`."""

    prediction_type: Literal["epsilon", "v_prediction", "edm"] = Field(
        "v_prediction",
        description="what the network predicts: the noise, v (Salimans & Ho, 2022), or F of EDM (Karras et al., 2022)",
    )
    num_timesteps: int = Field(1000, ge=2, description="T, steps of the noising process")
    schedule: Literal["squaredcos_cap_v2", "linear", "scaled_linear", "sigmoid"] = Field(
        "squaredcos_cap_v2", description="noise schedule"
    )
    variance_type: Literal["fixed_small", "fixed_large"] = Field(
        "fixed_large",
        description="variance of a reverse step in the bound: the posterior's, or beta, which bounds tighter",
    )
    bound_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of training examples whose timestep is drawn as the bound weighs it",
    )
    min_snr_gamma: float | None = Field(
        None, gt=0, description="weight of the other examples, min(SNR, gamma) in x0 (Hang et al., 2023); null is even"
    )
    num_bound_evaluations: int = Field(
        64, ge=2, multiple_of=2, description="network evaluations per example that estimate the bound"
    )


class FlowMatchingConfig(DenoiserConfig):
    """Options of the family `flow_matching`."""

    coupling: Literal["independent", "optimal_transport"] = Field(
        "independent", description="which noise an example is paired with: any, or the nearest by minibatch transport"
    )
    coupling_size: int = Field(
        64,
        ge=2,
        description="examples that are paired with as many noises; a worker's part of a batch holds whole sets",
    )
    detail_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of training examples whose t is drawn evenly in log-SNR, which shows detail; others evenly in t",
    )
    num_likelihood_steps: int = Field(
        20, ge=2, multiple_of=2, description="Heun steps along the flow for log_prob; each takes two evaluations"
    )
    num_probes: int = Field(
        2, ge=1, description="random signs per example that estimate the divergence, exact up to 8 dimensions"
    )
