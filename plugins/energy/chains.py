"""Markov chains that sample from an energy, in the base's coordinates u. Each chain is its own, whatever others run beside.

Both are plain functions of one signature, and `look` sees every state on the way, the first included.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from genpipe import ops
from genpipe.noise import Noise

Slope = Callable[[Tensor], tuple[Tensor, Tensor]]
"""The energy (B,) at u (B, D), and its gradient (B, D)."""
Look = Callable[[int, Tensor], None]

ACCEPTANCE = 0.574  # the best of a Langevin proposal in many dimensions (Roberts & Rosenthal, 1998, theorem 2)
RATE = 1.0


def ignore(step: int, u: Tensor) -> None:
    """A `look` that does not."""


def langevin(slope: Slope, u: Tensor, noise: Noise, *, num_steps: int, step_size: float, look: Look = ignore) -> Tensor:
    """Unadjusted Langevin dynamics (Welling & Teh, 2011, eq. 4): biased by its step, and never stuck."""
    u = u.clone(memory_format=torch.contiguous_format)
    for step in range(num_steps):
        look(step, u)
        _, gradient = slope(u)
        key = noise.key(f"step {step}")
        ops.langevin_step(u, gradient, key, step_size=step_size, first_index=noise.first_index, out=u)
    look(num_steps, u)
    return u


def metropolis(
    slope: Slope, u: Tensor, noise: Noise, *, num_steps: int, step_size: float, look: Look = ignore
) -> Tensor:
    """Langevin proposals, each accepted or not (Roberts & Tweedie, 1996, sec. 1.4.2): exact once the chain has mixed.

    Through the first half of its steps a chain fits its own step size, from `step_size` on, to the acceptance that is best;
    then it stays, for a chain that adapts has another stationary distribution.
    """
    log_size = torch.full((len(u), 1), math.log(step_size), device=u.device)
    energy, gradient = slope(u)
    for step in range(num_steps):
        look(step, u)
        size, key = log_size.exp(), noise.key(f"step {step}")
        # In units of its own step every chain's is 1, which the op takes as a constant.
        root = size.sqrt()
        proposed = root * ops.langevin_step(
            u / root, gradient * root, key, step_size=1.0, first_index=noise.first_index
        )
        energy_there, gradient_there = slope(proposed)
        gain = energy - energy_there + _log_move(u, proposed, gradient_there, size)
        gain = (gain - _log_move(proposed, u, gradient, size)).nan_to_num(nan=-math.inf)
        accept = noise.uniform(f"accept {step}", (len(u),), device=u.device) < gain.exp()
        u = torch.where(accept[:, None], proposed, u)
        gradient = torch.where(accept[:, None], gradient_there, gradient)
        energy = torch.where(accept, energy_there, energy)
        if step < num_steps // 2:
            log_size += RATE / math.sqrt(1 + step) * (gain.clamp(max=0).exp()[:, None] - ACCEPTANCE)
    look(num_steps, u)
    return u


def _log_move(to: Tensor, at: Tensor, gradient: Tensor, size: Tensor) -> Tensor:
    """log q(to | at) up to a constant, (B,)."""
    mean = at - 0.5 * size * gradient
    return -((to - mean).square() / (2 * size)).sum(dim=1)
