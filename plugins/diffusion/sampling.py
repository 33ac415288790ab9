"""What a sampler's numbers may be, by the model's config: known before anything is trained."""

from __future__ import annotations

from genpipe.errors import UsageError
from genpipe.plugins.diffusion.config import DenoiserConfig, DiffusionConfig
from genpipe.sampler import Sampler

OF_THE_FLOW = ("heun", "euler")
"""Samplers that choose their levels by σ/α, as EDM does, and not among the timesteps."""


def check_sampler(config: DenoiserConfig, sampler: Sampler) -> None:
    """UsageError where a model of this config cannot sample so. sampler: with all of its options."""
    options = sampler.options
    guidance, eta, rho, shift, num_steps = (
        options.get(name) for name in ("guidance", "eta", "rho", "shift", "num_steps")
    )
    if guidance is not None and guidance != 1:
        if not config.conditional:
            raise UsageError(
                f"guidance is {guidance:g}, but the model takes no labels: train it with conditional: true"
            )
        if config.label_dropout == 0:
            raise UsageError(
                f"guidance is {guidance:g}, but no label was hidden in training: set label_dropout above 0"
            )
    if eta is not None and not 0 <= eta <= 1:
        raise UsageError(f"eta is {eta:g}, expected 0 … 1")
    if rho is not None and rho < 1:
        raise UsageError(f"rho is {rho:g}, expected 1 or more")
    if shift is not None and shift <= 0:
        raise UsageError(f"shift is {shift:g}, expected more than 0")
    if (
        isinstance(config, DiffusionConfig)
        and by_timesteps(config, sampler)
        and num_steps is not None
        and num_steps > config.num_timesteps
    ):
        raise UsageError(f"num_steps is {num_steps}, expected 1 … {config.num_timesteps} (num_timesteps)")


def by_timesteps(config: DiffusionConfig, sampler: Sampler) -> bool:
    """Whether its levels are timesteps, and not spread in σ/α."""
    return config.prediction_type != "edm" and sampler.name not in OF_THE_FLOW
