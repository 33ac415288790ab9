"""Annealed importance sampling for decoders (Neal, 2001; Wu et al., 2017), with chains by Hamiltonian Monte Carlo.

The path is f_β(h) = N(h; 0, I) p(x | h)^β, β from 0 to 1. A forward run from the prior bounds log p(x) from below, a
reverse run from an exact draw of p(h | x) bounds it from above; such a draw is known where x itself was drawn by
the model (bidirectional Monte Carlo, Grosse et al., 2015). An energy E over h has its log Z bounded the same way: take
−E(h) − log N(h; 0, I) for log p(x | h).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from genpipe.likelihoods.importance import log_mean_weight
from genpipe.model import LogProb
from genpipe.noise import Noise

LogLikelihood = Callable[[Tensor], Tensor]
"""log p(x | h), (B, S) float64, of S chains' codes (B, S, D) float64 for each of B examples; differentiable."""

ACCEPTANCE = 0.8
SHORTEST_MOVE = 0.2  # of a step size; the longest is the whole of it
PILOT_SHARE, SHORTEST_PILOT = 5, 40  # a pilot has T / 5 temperatures, 40 at least, T at most
RATE = 0.4
SMALLEST_STEP, LARGEST_STEP = 1e-5, 1.5


def temperatures(num_steps: int) -> Tensor:
    """β_0 = 0 … β_T = 1, (T + 1,) float64: (t / T)⁴, nearly even in log β, as a posterior that narrows as 1/β wants."""
    return torch.linspace(0, 1, num_steps + 1, dtype=torch.float64) ** 4


@dataclass(frozen=True)
class Chains:
    """Where chains are: codes (B, S, D), log p(x | h) (B, S) and its gradient (B, S, D)."""

    h: Tensor
    log_likelihood: Tensor
    gradient: Tensor


@dataclass(frozen=True, kw_only=True)
class Annealing:
    """A path for B examples, to be run up and down. Example i's chains depend on its own numbers in `noise` alone.

    Step sizes are found by `pilot`, which adapts as it goes and gives no weights: a run that adapts is no Markov chain
    with the right stationary distribution, and its bound is none.
    """

    log_likelihood: LogLikelihood
    num_examples: int
    num_dimensions: int
    noise: Noise
    num_steps: int
    num_chains: int = 16
    num_leapfrog: int = 10
    device: torch.device | str = "cpu"

    def lower_bound(self, step_sizes: Tensor) -> LogProb:
        """A forward run; step_sizes: (B, T), of `pilot`. Its mean is at most log p(x)."""
        noise, betas = self.noise.child("forward"), temperatures(self.num_steps)
        chains = self._start(self._prior(noise))
        log_weights = torch.zeros_like(chains.log_likelihood)
        for t in range(1, self.num_steps + 1):
            log_weights += (betas[t] - betas[t - 1]) * chains.log_likelihood
            if t < self.num_steps:
                chains, _ = self._move(chains, float(betas[t]), step_sizes[:, t - 1], noise.child(str(t)))
        return log_mean_weight(log_weights.T)

    def upper_bound(self, h: Tensor, step_sizes: Tensor) -> LogProb:
        """A reverse run from h (B, D), one exact draw of p(h | x) for each example. Its mean is at least log p(x)."""
        noise, betas = self.noise.child("reverse"), temperatures(self.num_steps)
        chains = self._start(h.double()[:, None].repeat(1, self.num_chains, 1))
        log_weights = torch.zeros_like(chains.log_likelihood)
        for t in range(self.num_steps, 0, -1):
            if t < self.num_steps:
                chains, _ = self._move(chains, float(betas[t]), step_sizes[:, t - 1], noise.child(str(t)))
            log_weights += (betas[t] - betas[t - 1]) * chains.log_likelihood
        below = log_mean_weight(-log_weights.T)  # E[1 / w] = 1 / p(x)
        return LogProb(-below.nats, "upper_bound", below.standard_error)

    def pilot(self) -> Tensor:
        """Step sizes (B, T), from a shorter run with numbers of its own: each example's follows its acceptance."""
        noise = self.noise.child("pilot")
        betas = temperatures(max(self.num_steps // PILOT_SHARE, min(self.num_steps, SHORTEST_PILOT)))
        chains = self._start(self._prior(noise))
        size = torch.full((self.num_examples,), 0.5, dtype=torch.float64, device=chains.h.device)
        found = []
        for t in range(1, len(betas)):
            chains, accepted = self._move(chains, float(betas[t]), size, noise.child(str(t)))
            size = (size * (RATE * (accepted - ACCEPTANCE)).exp()).clamp(SMALLEST_STEP, LARGEST_STEP)
            found.append(size)
        nearest = (temperatures(self.num_steps)[1:, None] > betas[1:]).sum(1).clamp(max=len(found) - 1)
        return torch.stack(found, dim=1)[:, nearest.to(size.device)]

    def _prior(self, noise: Noise) -> Tensor:
        shape = (self.num_examples, self.num_chains, self.num_dimensions)
        return noise.normal("prior", shape, dtype=torch.float64, device=self.device)

    @torch.enable_grad()
    def _start(self, h: Tensor) -> Chains:
        h = h.detach().requires_grad_()
        log_likelihood = self.log_likelihood(h)
        (gradient,) = torch.autograd.grad(log_likelihood.sum(), h)
        return Chains(h.detach(), log_likelihood.detach(), gradient)

    def _move(self, chains: Chains, beta: float, step_size: Tensor, noise: Noise) -> tuple[Chains, Tensor]:
        """One transition that leaves f_β as it is, and the share (B,) of each example's chains that moved."""
        # Steps of one size may bring a chain back to where it was: a Gaussian's orbits all close (Neal, 2011, sec. 3.2).
        u = noise.uniform("size", tuple(chains.log_likelihood.shape), dtype=torch.float64, device=self.device)
        size = (step_size[:, None] * (SHORTEST_MOVE + (1 - SHORTEST_MOVE) * u))[..., None]
        start = noise.normal("momentum", tuple(chains.h.shape), dtype=torch.float64, device=self.device)
        at, momentum = chains, start + 0.5 * size * (beta * chains.gradient - chains.h)
        for step in range(self.num_leapfrog):
            at = self._start(at.h + size * momentum)
            last = step == self.num_leapfrog - 1
            momentum = momentum + (0.5 if last else 1.0) * size * (beta * at.gradient - at.h)
        gain = _log_joint(at, momentum, beta) - _log_joint(chains, start, beta)
        u = noise.uniform("accept", tuple(gain.shape), dtype=torch.float64, device=self.device)
        moved = (u < gain.exp()) & ~gain.isnan()  # where the steps ran away, stay
        where = moved[..., None]
        kept = Chains(
            torch.where(where, at.h, chains.h),
            torch.where(moved, at.log_likelihood, chains.log_likelihood),
            torch.where(where, at.gradient, chains.gradient),
        )
        return kept, moved.double().mean(1)


def _log_joint(chains: Chains, momentum: Tensor, beta: float) -> Tensor:
    return beta * chains.log_likelihood - 0.5 * (chains.h.square() + momentum.square()).sum(-1)
