"""Options of the variational autoencoders."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from genpipe.networks.config import CoderConfig


class ObjectiveConfig(CoderConfig):
    """What both families share: the code, and what is minimised."""

    latent_dim: int = Field(16, ge=1, description="numbers in a latent code")
    objective: Literal["elbo", "iwae", "dreg"] = Field(
        "elbo",
        description="the bound to maximise: ELBO, importance-weighted, or that with doubly reparameterised gradients",
    )
    num_codes: int = Field(1, ge=1, description="codes drawn per example in a training step")
    beta: float = Field(1.0, ge=0, description="weight of the KL term while training; the bound always uses 1")
    kl_warmup_steps: int = Field(0, ge=0, description="steps over which that weight rises from 0")
    free_nats: float = Field(
        0.0, ge=0, description="free bits: KL in nats that each number of a code has for free while training"
    )
    conditional: bool = Field(False, description="model each class by its label")
    num_elbo_samples: int = Field(8, ge=1, description="codes drawn per example to average the bound over")

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.objective == "elbo":
            return self
        if self.num_codes < 2:
            raise ValueError(f"objective '{self.objective}' of one code is the ELBO; expected num_codes of 2 or more")
        for name in ("beta", "kl_warmup_steps", "free_nats"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} weighs the ELBO's KL term, which objective '{self.objective}' has not")
        return self


class VAEConfig(ObjectiveConfig):
    """Options of the family `vae`."""

    min_std: float = Field(1e-3, gt=0, description="smallest standard deviation of the decoder, network units")


class DiscreteVAEConfig(ObjectiveConfig):
    """Options of the family `discrete_vae`."""

    decoder: Literal["logistic_mixture", "bernoulli", "categorical"] = Field(
        "logistic_mixture", description="the distribution of a pixel's level; bernoulli is binomial for more than two"
    )
    num_mixtures: int = Field(5, ge=1, le=512, description="logistics of a pixel's mixture (logistic_mixture)")
