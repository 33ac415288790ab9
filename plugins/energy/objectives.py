"""What teaches an energy without its log Z: plain functions of one signature, in a table.

Each takes (model, z (B, *event), noise) and gives the loss terms, and where it moved chains to, or None.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from genpipe.noise import Noise
from genpipe.plugins.energy.chains import persist

if TYPE_CHECKING:
    from genpipe.plugins.energy.config import EnergyConfig
    from genpipe.plugins.energy.model import EnergyModel


@dataclass(frozen=True)
class Moved:
    """Chains (B, D) after their steps, and the mean probability (B,) with which each one's steps were accepted."""

    chains: Tensor
    acceptance: Tensor


Taught = tuple[dict[str, Tensor], Moved | None]
Objective = Callable[["EnergyModel", Tensor, Noise], Taught]


def persistent_cd(model: EnergyModel, z: Tensor, noise: Noise) -> Taught:
    """E f(data) − E f(model), whose slope is that of the negative log-likelihood (Tieleman, 2008), the model's by chains
    that go on from step to step; some begin anew (Du & Mordatch, 2019, sec. 3.2), and f is held near 0 (their sec. 3.3).

    Where they leave the steps as they come, these are Metropolis-adjusted: steps that are too long for how steep the energy
    has become would make every chain too hot, and the energy of what they see rise without end.
    """
    config = model.config
    u = model.chains[model.slots(noise, len(z))]
    anew = noise.uniform("restart", (len(z),), device=z.device) < config.restart
    u = torch.where(anew[:, None], noise.normal("base", tuple(u.shape), device=z.device), u)
    u, acceptance = persist(
        model.slope, u, noise.child("chain"), num_steps=config.chain_steps, step_size=model.log_step_size.exp()
    )
    of_data, of_chains = model.tilt(z), model.tilt_at(u)
    contrast = of_data.mean() - of_chains.mean()
    size = (of_data.square() + of_chains.square()).mean()
    loss = contrast + config.regularization * size
    terms = {"loss": loss, "contrast": contrast.detach(), "tilt": of_data.detach().abs().mean()}
    return {**terms, "acceptance": acceptance.mean()}, Moved(u, acceptance)


def denoising_score_matching(model: EnergyModel, z: Tensor, noise: Noise) -> Taught:
    """E ½σ₀²‖∇E(ũ) − ε/σ‖² / D with ũ = u + σ ε (Vincent, 2011, eq. 9): the energy of data with that noise.

    σ is σ₀, `noise_std`; or, up to `noise_std_max`, as `noise_levels` draws it, an example its own. With this one weight for
    all levels the best E is −log ∫ p(σ) p_σ(ũ) dσ, p_σ being data with noise σ: the score of such a mixture is the mean of ε/σ,
    given ũ. Noise of several levels is of Li, Chen & Sommer (2019), whose target σε/σ₀² is that of no such density: where there is
    noise σ, it makes the log-odds of modes (σ/σ₀)² times what they are.
    """
    low = model.config.noise_std
    u = model.base.whiten(z.flatten(1))
    e = noise.normal("noise", tuple(u.shape), device=z.device)
    sigma = noise_levels(model.config, noise, len(u), device=z.device)
    noisy = (u + sigma * e).detach().requires_grad_()
    with torch.enable_grad():
        f = model.tilt_at(noisy)
        (gradient,) = torch.autograd.grad(f.sum(), noisy, create_graph=True)
    error = low * (gradient + noisy.detach()) - low / sigma * e
    return {"loss": 0.5 * error.square().mean()}, None


def noise_levels(config: EnergyConfig, noise: Noise, num: int, *, device: torch.device) -> Tensor:
    """σ (num, 1): of one half of the examples `noise_std`, of the other log-uniform from there to `noise_std_max`."""
    low, high = config.noise_std, config.noise_std_max or config.noise_std
    share = (2 * noise.uniform("level", (num, 1), device=device) - 1).clamp(min=0)
    return low * (high / low) ** share


def noise_contrastive(model: EnergyModel, z: Tensor, noise: Noise) -> Taught:
    """Logistic regression of data against ν draws of the base for each (Gutmann & Hyvärinen, 2010, eq. 3), by −f, which is
    log p − log N: at its best f is normalised, and log Z = 0."""
    ratio = model.config.noise_ratio
    draws = torch.stack(
        [noise.normal(f"base {k}", (len(z), model.spec.num_dimensions), device=z.device) for k in range(ratio)], dim=1
    )
    of_data, of_noise = model.tilt(z), model.tilt_at(draws.flatten(0, 1))
    shift = math.log(ratio)
    mistaken = F.softplus(of_data + shift).mean() + ratio * F.softplus(-of_noise - shift).mean()
    right = 0.5 * ((of_data < 0).float().mean() + (of_noise > 0).float().mean())
    return {"loss": mistaken, "told_apart": right.detach()}, None


OBJECTIVES: dict[str, Objective] = {
    "persistent_cd": persistent_cd,
    "denoising_score_matching": denoising_score_matching,
    "noise_contrastive": noise_contrastive,
}
