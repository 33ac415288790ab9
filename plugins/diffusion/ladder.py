"""The noise levels of a diffusion in discrete time, and how training examples are spread over them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from genpipe.noise import Noise
from genpipe.ops import schedules

GOLDEN = (math.sqrt(5) - 1) / 2


class Ladder(nn.Module):
    """T levels of x = α z + σ ε with α² + σ² = 1, the cleanest first.

    Buffers: alpha_bar (T,), α²; log_snr (T,), λ = log α²/σ²; cumulative (T,), the share of the fall of λ up to each
    level; all float64. A bound is an integral over λ (Kingma et al., 2021, eq. 18), so level t weighs what λ falls by
    from t − 1 to t.
    """

    alpha_bar: Tensor
    log_snr: Tensor
    cumulative: Tensor

    def __init__(self, schedule: str, num_timesteps: int) -> None:
        super().__init__()
        alpha_bar = schedules.alpha_bar(schedule, num_timesteps)
        log_snr = schedules.log_snr(alpha_bar)
        falls = torch.cat([torch.zeros(1, dtype=torch.float64), log_snr[:-1] - log_snr[1:]])
        self.register_buffer("alpha_bar", alpha_bar, persistent=False)
        self.register_buffer("log_snr", log_snr, persistent=False)
        self.register_buffer("cumulative", (falls / falls.sum()).cumsum(0), persistent=False)

    def __len__(self) -> int:
        return len(self.alpha_bar)

    def evenly(self, u: Tensor) -> Tensor:
        """t, int64, for u in [0, 1): each level alike."""
        return (u * len(self)).long().clamp_(0, len(self) - 1)

    def as_the_bound(self, u: Tensor) -> Tensor:
        """t ≥ 1, int64, for u in [0, 1): each level by what λ falls by there."""
        return torch.searchsorted(self.cumulative, u, right=True).clamp_(1, len(self) - 1)

    def times(self, num_steps: int, rho: float) -> Tensor:
        """t (num_steps,) float64, falling from T − 1: trailing timesteps, which are even and stop short of the first (Lin et
        al., 2024, table 2), where rho is 1; where it is more, down to 0, with t + 1 even in (t + 1)^(1/rho)."""
        if rho == 1:
            return torch.tensor(schedules.timesteps(len(self), num_steps), dtype=torch.float64)
        return (schedules.karras_sigmas(num_steps, 1.0, len(self), rho)[:-1] - 1).clamp(0, len(self) - 1)

    def at(self, t: Tensor) -> Tensor:
        """λ (N,) float64 on the CPU for t (N,) float64 in [0, T − 1], a straight line between two levels."""
        log_snr, below = self.log_snr.cpu(), t.floor().long()
        above = (below + 1).clamp(max=len(self) - 1)
        return torch.lerp(log_snr[below], log_snr[above], t - below)


def levels(log_snr: Tensor) -> Tensor:
    """α and σ, (B, 2) float64, for λ (B,) float64."""
    return torch.stack([log_snr, -log_snr], dim=1).sigmoid().sqrt()


def spread(noise: Noise, num: int, device: torch.device) -> Tensor:
    """(num,) float64 in [0, 1): the Kronecker sequence frac(u + i·golden ratio) over global example indices i.

    Any run of examples covers [0, 1) evenly, and example i has the same number on any number of workers.
    """
    start = noise.at(0).uniform("timestep", (1,), dtype=torch.float64, device=device)
    indices = torch.arange(noise.first_index, noise.first_index + num, dtype=torch.float64, device=device)
    return (start + indices * GOLDEN) % 1.0


def divided(u: Tensor, share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Whether u is below `share`, and numbers in [0, 1) for those that are and for those that are not."""
    first = u < share
    return first, u / share if share > 0 else u, ((u - share) / (1 - share)).clamp_(0, 1) if share < 1 else u
