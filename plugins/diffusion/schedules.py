"""Noise schedules: the cumulative signal power ᾱ_t, in float64, under diffusers' names."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


def linear(num_timesteps: int) -> Tensor:
    """β from 1e-4 to 0.02 over 1,000 steps (Ho et al., 2020, sec. 4), scaled to keep ᾱ_T for other T."""
    scale = 1000 / num_timesteps
    return torch.linspace(scale * 1e-4, scale * 0.02, num_timesteps, dtype=torch.float64).clamp(max=0.999)


def scaled_linear(num_timesteps: int) -> Tensor:
    """√β from √0.00085 to √0.012 (Rombach et al., 2022), scaled as `linear` is."""
    scale = 1000 / num_timesteps
    roots = torch.linspace(0.00085**0.5, 0.012**0.5, num_timesteps, dtype=torch.float64)
    return (scale * roots**2).clamp(max=0.999)


def squaredcos_cap_v2(num_timesteps: int) -> Tensor:
    """The cosine schedule, β ≤ 0.999 (Nichol & Dhariwal, 2021, eq. 17)."""
    t = torch.arange(num_timesteps + 1, dtype=torch.float64) / num_timesteps
    power = ((t + 0.008) / 1.008 * math.pi / 2).cos() ** 2
    return (1 - power[1:] / power[:-1]).clamp(max=0.999)


SCHEDULES: dict[str, Callable[[int], Tensor]] = {
    "linear": linear,
    "scaled_linear": scaled_linear,
    "squaredcos_cap_v2": squaredcos_cap_v2,
}


@dataclass(frozen=True)
class NoiseSchedule:
    """ᾱ_t for t = 0 … T−1, float64 (T,); ᾱ_{−1} is 1."""

    alpha_bar: Tensor

    @classmethod
    def named(cls, name: str, num_timesteps: int) -> NoiseSchedule:
        return cls((1 - SCHEDULES[name](num_timesteps)).cumprod(0))

    @property
    def num_timesteps(self) -> int:
        return len(self.alpha_bar)

    @property
    def log_snr(self) -> Tensor:
        """λ_t = log ᾱ_t / (1 − ᾱ_t), (T,), falling."""
        return self.alpha_bar.log() - (-self.alpha_bar).log1p()

    def spaced(self, num_steps: int) -> list[int]:
        """`num_steps` timesteps from T−1 down, evenly "trailing" (Lin et al., 2024, table 2)."""
        total = self.num_timesteps
        return [round(total - i * total / num_steps) - 1 for i in range(num_steps)]

    def pairs(self, num_steps: int) -> list[tuple[int, float, float]]:
        """(t, ᾱ_t, ᾱ_p) for each step down; p is the next timestep of the same list, and ᾱ is 1 after the last."""
        steps = self.spaced(num_steps)
        values = [float(self.alpha_bar[t]) for t in steps]
        return list(zip(steps, values, [*values[1:], 1.0], strict=True))
