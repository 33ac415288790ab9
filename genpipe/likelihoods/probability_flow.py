"""Log-density along a flow dx/dt = v(x, t) that carries data to noise: the instantaneous change of variables.

log p(x(0)) = log p(x(1)) + ∫ tr ∂v/∂x dt along the path (Chen et al., 2018, eq. 3; Song et al., 2021, eq. 39).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from genpipe.likelihoods.standard_error import standard_error
from genpipe.model import LogProb
from genpipe.noise import Noise

Velocity = Callable[[Tensor, float], Tensor]
"""v(x, t), (B, *event) for x (B, *event), each example's its own; differentiable in x."""

EXACT_UP_TO = 8  # dimensions; the trace costs a backward pass for each


@dataclass(frozen=True, kw_only=True)
class ProbabilityFlow:
    """A flow and how to follow it. times: (num_steps + 1,), from data to noise, where x is N(0, I); num_steps even.

    method: "heun", of second order, or "euler". num_probes: random signs that estimate the trace (Hutchinson, 1990,
    as Grathwohl et al., 2019, sec. 3.1, the same along the whole path); up to 8 dimensions it is computed exactly.
    """

    velocity: Velocity
    times: tuple[float, ...]
    noise: Noise
    method: Literal["heun", "euler"] = "heun"
    num_probes: int = 4

    def log_prob(self, x: Tensor) -> LogProb:
        """An estimate (B,) of log p(x), nats, for x (B, *event).

        standard_error: of the probes; None where the trace is exact, or there is one probe. check: what the same with
        half the steps gives, less this: the error of the solver at half the steps, some four times that at all of them
        for Heun and twice for Euler.
        """
        probes = self._probes(x)
        full, half = self._solve(x, self.times, probes), self._solve(x, self.times[::2], probes)
        return LogProb(full.mean(0), "estimate", standard_error(full), check=half.mean(0) - full.mean(0))

    def _probes(self, x: Tensor) -> Tensor:
        """(K, B, *event): signs, or for an exact trace the unit vectors."""
        dimensions = math.prod(x.shape[1:])
        if dimensions > EXACT_UP_TO:
            draws = [self.noise.uniform(f"probe {k}", tuple(x.shape), device=x.device) for k in range(self.num_probes)]
            return torch.where(torch.stack(draws) < 0.5, -1.0, 1.0).to(x.dtype)
        units = torch.eye(dimensions, dtype=x.dtype, device=x.device).reshape(dimensions, 1, *x.shape[1:])
        return units.expand(dimensions, *x.shape)

    def _solve(self, x: Tensor, times: tuple[float, ...], probes: Tensor) -> Tensor:
        """log p (K, B) float64, with each probe's trace; (1, B) where it is exact."""
        exact = math.prod(x.shape[1:]) <= EXACT_UP_TO
        change = torch.zeros(1 if exact else len(probes), len(x), dtype=torch.float64, device=x.device)
        for start, stop in itertools.pairwise(times):
            step = stop - start
            v, trace = self._slopes(x, start, probes, exact)
            if self.method == "heun":
                v_next, trace_next = self._slopes(x + step * v, stop, probes, exact)
                v, trace = (v + v_next) / 2, (trace + trace_next) / 2
            x, change = x + step * v, change + step * trace
        z = x.double().flatten(1)
        return change - 0.5 * (z.square() + math.log(2 * math.pi)).sum(1)

    @torch.enable_grad()
    def _slopes(self, x: Tensor, t: float, probes: Tensor, exact: bool) -> tuple[Tensor, Tensor]:
        """v (B, *event), and e·(∂v/∂x)e for each probe e: (K, B) float64, or their sum (1, B)."""
        x = x.detach().requires_grad_()
        v = self.velocity(x, t)
        products = []
        for k, probe in enumerate(probes):
            (pulled,) = torch.autograd.grad(v, x, probe, retain_graph=k + 1 < len(probes))
            products.append((pulled * probe).double().flatten(1).sum(1))
        traces = torch.stack(products)
        return v.detach(), traces.sum(0, keepdim=True) if exact else traces


def warped_times(start: float, stop: float, num_steps: int, rho: float = 3.0) -> tuple[float, ...]:
    """num_steps + 1 times, even in t^(1/ρ), as Karras et al. (2022), eq. 5, space σ: finest near the data."""
    ends = (start ** (1 / rho), stop ** (1 / rho))
    even = torch.linspace(*ends, num_steps + 1, dtype=torch.float64) ** rho
    return (start, *even[1:-1].tolist(), stop)
