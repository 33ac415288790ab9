"""log Z of a density known up to that: p(u) = exp(t(u)) N(u; 0, I) / Z, a tilt t of the standard normal in D dimensions.

| estimator | how | what it can say of itself |
| --- | --- | --- |
| `annealed` | forward from the normal: at most log Z; backward from draws of p: at least log Z | the gap between the two |
| `importance` | the mean weight of draws of the normal | the share of p whose weights those draws never reached |
| `quadrature` | the midpoint rule on a grid, in one or two dimensions | what a grid of twice the width gives, less this |

A log Z that is too low makes every example too likely, which is why the gap is a likelihood's check. The upper bound takes
exact draws of p: with those of chains that have not mixed, both bounds may be too low (Grosse et al., 2015, sec. 4).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from genpipe.likelihoods.annealing import Annealing
from genpipe.likelihoods.grid import Grid
from genpipe.likelihoods.importance import log_mean_weight
from genpipe.model import LogNormalizer
from genpipe.noise import Noise

Tilt = Callable[[Tensor], Tensor]
"""t(u), (B,) float64, for u (B, D) float64; differentiable."""


def annealed(
    tilt: Tilt,
    draws: Tensor,
    *,
    noise: Noise,
    num_chains: int,
    num_steps: int,
    num_leapfrog: int = 10,
) -> LogNormalizer:
    """Annealed importance sampling in both directions (Neal, 2001; Grosse et al., 2015), see genpipe.likelihoods.annealing.

    draws: (N, D) of p, where chains run backward from; the forward ones are `num_chains`. Costs some 2.2 × num_leapfrog
    gradients of t for each chain and temperature.
    """

    def log_likelihood(h: Tensor) -> Tensor:
        return tilt(h.flatten(0, 1)).unflatten(0, h.shape[:2])

    def path(num_examples: int, num_chains: int) -> Annealing:
        return Annealing(
            log_likelihood=log_likelihood,
            num_examples=num_examples,
            num_dimensions=draws.shape[1],
            noise=noise,
            num_steps=num_steps,
            num_chains=num_chains,
            num_leapfrog=num_leapfrog,
            device=draws.device,
        )

    forward, backward = path(1, num_chains), path(len(draws), 1)
    sizes = forward.pilot()
    below = forward.lower_bound(sizes)
    above = backward.upper_bound(draws, sizes.expand(len(draws), -1))
    nats, upper = float(below.nats), -float(log_mean_weight(-above.nats[:, None]).nats)
    error = None if below.standard_error is None else float(below.standard_error)
    return LogNormalizer(nats=nats, standard_error=error, upper=upper, check=upper - nats)


@torch.no_grad()
def importance(tilt: Tilt, draws: Tensor, *, noise: Noise, num_samples: int, block: int = 4096) -> LogNormalizer:
    """log E[exp t(u)] over `num_samples` draws of the normal.

    check: −log(1 − q) of the share q of `draws` (N, D) of p with a larger t than all of those: what is there, the mean
    lacks, and its standard error does not know. The mean of 1 / exp t over draws of p would be an upper bound, of a
    variance that is often infinite (Newton & Raftery, 1994, and the discussion), which says less.
    """
    parts = []
    for first in range(0, num_samples, block):
        shape = (min(block, num_samples - first), draws.shape[1])
        parts.append(tilt(noise.at(first).normal("normal", shape, dtype=torch.float64, device=draws.device)))
    tilts = torch.cat(parts)
    below = log_mean_weight(tilts[:, None])
    missed = float((tilt(draws.double()) > tilts.max()).double().sum()) / (len(draws) + 1)
    error = None if below.standard_error is None else float(below.standard_error)
    return LogNormalizer(nats=float(below.nats), standard_error=error, check=-math.log1p(-missed))


def quadrature(tilt: Tilt, num_dimensions: int, *, num_cells: int, device: torch.device | str = "cpu") -> LogNormalizer:
    """The midpoint rule over num_cells cells a side, an even number, of a box that holds all but 1e-6 of the mass.

    check: the rule with cells of twice the width, less this.
    """
    grid, log_density = covering_grid(tilt, num_dimensions, num_cells=num_cells, device=device)
    nats = grid.log_integral(log_density)
    coarse = Grid(grid.num_dimensions, grid.num_cells // 2, grid.radius)
    return LogNormalizer(nats=nats, check=coarse.log_integral(_log_density(tilt, coarse, device)) - nats)


SMALLEST_RADIUS, LARGEST_RADIUS, GROWTH = 6.0, 100.0, 1.5
LOG_OUTSIDE = math.log(1e-6)


def covering_grid(
    tilt: Tilt, num_dimensions: int, *, num_cells: int, device: torch.device | str = "cpu"
) -> tuple[Grid, Tensor]:
    """A grid whose outermost cells hold less than 1e-6 of the mass, and exp(t) N at its middles, nats."""
    radius = SMALLEST_RADIUS
    while True:
        grid = Grid(num_dimensions, num_cells, radius)
        log_density = _log_density(tilt, grid, device)
        outside = grid.log_integral(log_density.masked_fill(~grid.on_edge().to(device), -math.inf))
        if outside - grid.log_integral(log_density) < LOG_OUTSIDE or radius > LARGEST_RADIUS:
            return grid, log_density
        radius *= GROWTH


@torch.no_grad()
def _log_density(tilt: Tilt, grid: Grid, device: torch.device | str, block: int = 65536) -> Tensor:
    u = grid.middles().to(device)
    tilts = torch.cat([tilt(rows) for rows in u.split(block)])
    return tilts - 0.5 * (u.square() + math.log(2 * math.pi)).sum(dim=1)
