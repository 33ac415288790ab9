"""Markov chains that sample from an energy, in the base's coordinates u. Each chain is its own, whatever others run beside.

The two samplers are plain functions of one signature, and `look` sees every state on the way, the first included.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from genpipe import ops
from genpipe.noise import Noise

Slope = Callable[[Tensor], tuple[Tensor, Tensor]]
"""The energy (B,) at u (B, D), and its gradient (B, D)."""
Look = Callable[[int, Tensor], None]

ACCEPTANCE = 0.574  # the best of a Langevin proposal in many dimensions (Roberts & Rosenthal, 1998, theorem 2)
RATE = 1.0
COOLED_SHARE = 3  # of a chain's steps one in so many, the last


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


def cooling(
    run: Callable[..., Tensor],
    slope: Slope,
    u: Tensor,
    noise: Noise,
    *,
    num_steps: int,
    temperature: float,
    look: Look = ignore,
) -> Tensor:
    """`run`, a sampler whose step size is chosen, on to exp(−E / temperature) in the last third of its steps.

    There chains no longer cross from mode to mode, and leave what is improbable where they are.
    """
    cool = num_steps // COOLED_SHARE
    warm = num_steps - cool
    u = run(slope, u, noise, num_steps=warm, look=look)

    def cooled(u: Tensor) -> tuple[Tensor, Tensor]:
        energy, gradient = slope(u)
        return energy / temperature, gradient / temperature

    def look_on(step: int, u: Tensor) -> None:
        if step:  # its first state is the last before
            look(warm + step, u)

    return run(cooled, u, noise.child("cooled"), num_steps=cool, look=look_on)


@dataclass(frozen=True)
class State:
    """Where chains are: u (B, D), the energy (B,) and its gradient (B, D) there."""

    u: Tensor
    energy: Tensor
    gradient: Tensor


def metropolis(
    slope: Slope, u: Tensor, noise: Noise, *, num_steps: int, step_size: float, look: Look = ignore
) -> Tensor:
    """Langevin proposals, each accepted or not (Roberts & Tweedie, 1996, sec. 1.4.2): exact once the chain has mixed.

    Through the first half of its steps a chain fits its own step size, from `step_size` on, to the acceptance that is best;
    then it stays, for a chain that adapts has another stationary distribution.
    """
    log_size = torch.full((len(u), 1), math.log(step_size), device=u.device)
    state = State(u, *slope(u))
    for step in range(num_steps):
        look(step, state.u)
        state, probability = _move(slope, state, log_size.exp(), noise, step)
        if step < num_steps // 2:
            log_size += RATE / math.sqrt(1 + step) * (probability[:, None] - ACCEPTANCE)
    look(num_steps, state.u)
    return state.u


def persist(slope: Slope, u: Tensor, noise: Noise, *, num_steps: int, step_size: Tensor) -> tuple[Tensor, Tensor]:
    """The same with steps of one size, 0-d, and the mean probability (B,) with which each chain's were accepted."""
    state, total = State(u, *slope(u)), torch.zeros(len(u), device=u.device)
    sizes = step_size.expand(len(u), 1)
    for step in range(num_steps):
        state, probability = _move(slope, state, sizes, noise, step)
        total += probability
    return state.u, total / num_steps


def _move(slope: Slope, at: State, size: Tensor, noise: Noise, step: int) -> tuple[State, Tensor]:
    """One step of size (B, 1), and the probability (B,) with which it was to be accepted."""
    # In units of its own step every chain's is 1, which the op takes as a constant.
    root, key = size.sqrt(), noise.key(f"step {step}")
    moved = ops.langevin_step(at.u / root, at.gradient * root, key, step_size=1.0, first_index=noise.first_index)
    there = State(root * moved, *slope(root * moved))
    gain = at.energy - there.energy + _log_move(at.u, there, size) - _log_move(there.u, at, size)
    probability = gain.clamp(max=0).exp().nan_to_num(nan=0.0)  # where the energy is no number, stay
    accept = noise.uniform(f"accept {step}", (len(gain),), device=gain.device) < probability
    return State(
        torch.where(accept[:, None], there.u, at.u),
        torch.where(accept, there.energy, at.energy),
        torch.where(accept[:, None], there.gradient, at.gradient),
    ), probability


def _log_move(to: Tensor, at: State, size: Tensor) -> Tensor:
    """log q(to | at) up to a constant, (B,)."""
    mean = at.u - 0.5 * size * at.gradient
    return -((to - mean).square() / (2 * size)).sum(dim=1)
