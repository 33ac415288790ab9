"""Options of the variational autoencoder."""

from __future__ import annotations

from pydantic import Field

from genpipe.config import Config


class VAEConfig(Config):
    """Options of the family `vae`."""

    latent_dim: int = Field(16, ge=1, description="numbers in a latent code")
    channels: int = Field(32, ge=1, description="channels at full resolution; doubled at each halving (images)")
    num_halvings: int = Field(2, ge=0, le=6, description="times the resolution is halved (images)")
    hidden: int = Field(256, ge=1, description="width of the hidden layers of the MLPs (vectors)")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate in encoder and decoder")
    beta: float = Field(1.0, ge=0, description="weight of the KL term while training; the bound always uses 1")
    min_std: float = Field(1e-3, gt=0, description="smallest standard deviation of the decoder, network units")
    num_elbo_samples: int = Field(8, ge=1, description="codes drawn per example to average the bound over")
