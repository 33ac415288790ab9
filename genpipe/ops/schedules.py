"""Noise schedules as data: float64 tables of β, ᾱ, σ, and of the levels (α, σ) in x = α x₀ + σ ε.

The names are diffusers'. A table of levels, (T, 2), is what q_sample, diffusion_loss and genpipe.ops.samplers take; the
first two take a table (T,) of ᾱ as well. ValueError names what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

BETA_MAX = 0.999


def linear(num_timesteps: int, beta_start: float = 1e-4, beta_end: float = 0.02) -> Tensor:
    """β evenly from start to end (Ho et al., 2020, sec. 4).

    As in the other schedules of this kind, start and end are those of 1,000 steps, and β is scaled for other numbers
    of them so that ᾱ_T stays (diffusers does not scale).
    """
    return _scaled(torch.linspace(beta_start, beta_end, num_timesteps, dtype=torch.float64))


def scaled_linear(num_timesteps: int, beta_start: float = 0.00085, beta_end: float = 0.012) -> Tensor:
    """√β evenly from start to end (Rombach et al., 2022)."""
    return _scaled(torch.linspace(beta_start**0.5, beta_end**0.5, num_timesteps, dtype=torch.float64).square())


def sigmoid(num_timesteps: int, beta_start: float = 1e-4, beta_end: float = 0.02) -> Tensor:
    """β along the logistic curve over [−6, 6] (Xu et al., 2022, GeoDiff)."""
    curve = torch.linspace(-6, 6, num_timesteps, dtype=torch.float64).sigmoid()
    return _scaled(curve * (beta_end - beta_start) + beta_start)


def squaredcos_cap_v2(num_timesteps: int) -> Tensor:
    """The cosine schedule, β ≤ 0.999 (Nichol & Dhariwal, 2021, eq. 17)."""
    t = torch.arange(num_timesteps + 1, dtype=torch.float64) / num_timesteps
    power = ((t + 0.008) / 1.008 * math.pi / 2).cos().square()
    return (1 - power[1:] / power[:-1]).clamp(max=BETA_MAX)


def _scaled(betas: Tensor) -> Tensor:
    return (1000 / len(betas) * betas).clamp(max=BETA_MAX)


BETAS: dict[str, Callable[[int], Tensor]] = {
    "linear": linear,
    "scaled_linear": scaled_linear,
    "sigmoid": sigmoid,
    "squaredcos_cap_v2": squaredcos_cap_v2,
}


def alpha_bar(name: str, num_timesteps: int) -> Tensor:
    """ᾱ_t = ∏(1 − β), (T,), of a schedule in BETAS."""
    if name not in BETAS:
        raise ValueError(f"schedule {name!r}: expected one of {', '.join(BETAS)}")
    return (1 - BETAS[name](num_timesteps)).cumprod(0)


def zero_terminal_snr(alpha_bar: Tensor) -> Tensor:
    """ᾱ with √ᾱ shifted to end in 0 and scaled to start where it did (Lin et al., 2024, algorithm 1).

    At the last level x_t is noise alone: ε then says nothing of x₀, so train v_prediction or sample, and space the
    timesteps "trailing" to begin there.
    """
    root = alpha_bar.double().sqrt()
    return ((root - root[-1]) * (root[0] / (root[0] - root[-1]))).square()


def log_snr(alpha_bar: Tensor) -> Tensor:
    """λ_t = log ᾱ_t / (1 − ᾱ_t), (T,), falling."""
    return alpha_bar.log() - (-alpha_bar).log1p()


def timesteps(num_timesteps: int, num_steps: int, spacing: str = "trailing", steps_offset: int = 0) -> list[int]:
    """`num_steps` of the timesteps 0 … T−1, falling, by Lin et al. (2024), table 2.

    spacing: "trailing" ends at T−1 and so begins with pure noise; "leading" starts at steps_offset and leaves the last
    out; "linspace" holds both 0 and T−1.
    """
    if not 1 <= num_steps <= num_timesteps:
        raise ValueError(f"num_steps is {num_steps}, expected 1 … {num_timesteps} (num_timesteps)")
    if spacing == "trailing":
        return [round(num_timesteps - i * num_timesteps / num_steps) - 1 for i in range(num_steps)]
    if spacing == "linspace":
        gap = (num_timesteps - 1) / max(num_steps - 1, 1)
        return [round(i * gap) for i in reversed(range(num_steps))]
    if spacing != "leading":
        raise ValueError(f"spacing is {spacing!r}, expected 'trailing', 'leading' or 'linspace'")
    chosen = [i * (num_timesteps // num_steps) + steps_offset for i in reversed(range(num_steps))]
    if not 0 <= chosen[-1] <= chosen[0] < num_timesteps:
        raise ValueError(f"steps_offset is {steps_offset}: timesteps {chosen[-1]} … {chosen[0]} leave 0 … T−1")
    return chosen


def karras_sigmas(num_steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Tensor:
    """σ from max to min, even in σ^(1/ρ), then 0: (num_steps + 1,) (Karras et al., 2022, eq. 5)."""
    if not 0 < sigma_min <= sigma_max < math.inf:
        raise ValueError(f"sigma_min is {sigma_min} and sigma_max {sigma_max}, expected 0 < min ≤ max")
    roots = torch.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), num_steps, dtype=torch.float64)
    return torch.cat([roots**rho, roots.new_zeros(1)])


def flow_times(num_steps: int, shift: float = 1.0) -> Tensor:
    """The straight path's t from 1, noise, to 0, data: (num_steps + 1,).

    shift > 1 spends more steps near the noise, as larger images want: t' = s t / (1 + (s − 1) t) (Esser et al., 2024,
    eq. 23).
    """
    t = torch.linspace(1, 0, num_steps + 1, dtype=torch.float64)
    return shift * t / (1 + (shift - 1) * t)


def variance_preserving(alpha_bar: Tensor) -> Tensor:
    """Levels (T, 2): √ᾱ and √(1 − ᾱ) (Ho et al., 2020)."""
    alpha_bar = alpha_bar.double()
    return torch.stack([alpha_bar.sqrt(), (1 - alpha_bar).sqrt()], dim=-1)


def variance_exploding(sigmas: Tensor) -> Tensor:
    """Levels (T, 2): 1 and σ (Karras et al., 2022)."""
    sigmas = sigmas.double()
    return torch.stack([torch.ones_like(sigmas), sigmas], dim=-1)


def flow(times: Tensor) -> Tensor:
    """Levels (T, 2): 1 − t and t (Lipman et al., 2023; time as in Esser et al., 2024, noise at 1)."""
    times = times.double()
    return torch.stack([1 - times, times], dim=-1)


def descent(alpha_bar: Tensor, timesteps: list[int]) -> Tensor:
    """The levels (num_steps + 1, 2) that sampling passes: those of the timesteps, then clean data."""
    return variance_preserving(torch.cat([alpha_bar.double()[timesteps], alpha_bar.new_ones(1, dtype=torch.float64)]))
