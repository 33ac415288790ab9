"""Exact draws from an energy in the plane, by rejection under an envelope that is constant on each cell of a grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from genpipe.errors import UsageError
from genpipe.likelihoods.grid import Grid
from genpipe.likelihoods.normalizer import Tilt, covering_grid
from genpipe.noise import Noise
from genpipe.plugins.energy.chains import Look, Slope, ignore

CANDIDATES = 4  # of a row in a round
MOST_ROUNDS = 1000
ROUNDING = 1e-3  # nats, of an energy in single precision


@dataclass(frozen=True)
class Envelope:
    """heights: (K,) float64, log M of each cell with exp(−E) ≤ M in it; energy: E (B,) for u (B, D)."""

    grid: Grid
    heights: Tensor
    energy: Callable[[Tensor], Tensor]

    def draw(self, num: int, noise: Noise, look: Look = ignore) -> Tensor:
        """(num, D): of the proposals, uniform in a cell drawn by its M, the first whose u < exp(−E) / M. look: called with
        the first proposals of all.

        UsageError where an energy is found above the envelope, for then draws would lack what is there.
        """
        width, dimensions = self.grid.width, self.grid.num_dimensions
        cumulative = (self.heights - self.heights.logsumexp(0)).exp().cumsum(0)
        drawn = torch.zeros(num, dimensions, dtype=torch.float64, device=self.heights.device)
        waiting = torch.arange(num, device=drawn.device)
        for turn in range(MOST_ROUNDS):
            if not len(waiting):
                return drawn
            # Rows take their own numbers from those of all, so that none depends on how long the others wait.
            shape = (num, CANDIDATES, dimensions + 2)
            uniform = noise.uniform(f"round {turn}", shape, dtype=torch.float64, device=drawn.device)[waiting]
            cells = torch.searchsorted(cumulative / cumulative[-1], uniform[..., 0].contiguous(), right=True)
            cells = cells.clamp(max=len(cumulative) - 1)
            corners = self._corners(cells)
            proposed = corners + width * uniform[..., 2:]
            if turn == 0:
                look(0, proposed[:, 0].float())
            gain = -self.energy(proposed.flatten(0, 1).float()).double().unflatten(0, cells.shape) - self.heights[cells]
            self._check(gain, proposed)
            accepted = uniform[..., 1] < gain.exp()
            first = accepted.to(torch.uint8).argmax(dim=1)
            done = accepted.any(dim=1)
            drawn[waiting[done]] = proposed[done, first[done]]
            waiting = waiting[~done]
        raise UsageError(
            f"the sampler 'rejection' found no sample in {CANDIDATES * MOST_ROUNDS} proposals: use 'metropolis'"
        )

    def _corners(self, cells: Tensor) -> Tensor:
        """Lower corners (…, D) of cells (…)."""
        side = self.grid.num_cells
        places = [cells] if self.grid.num_dimensions == 1 else [cells // side, cells % side]
        return torch.stack(places, dim=-1).double() * self.grid.width - self.grid.radius

    def _check(self, gain: Tensor, proposed: Tensor) -> None:
        excess = float(gain.max())
        if excess > ROUNDING:
            at = ", ".join(f"{value:.3f}" for value in proposed.flatten(0, 1)[int(gain.argmax())].tolist())
            raise UsageError(
                f"the density at ({at}), in the base's coordinates, is {excess:.2g} nats above the envelope of the sampler "
                f"'rejection', whose draws would lack it: ask for more cells than num_cells = {self.grid.num_cells}"
            )


def envelope(tilt: Tilt, slope: Slope, num_dimensions: int, *, num_cells: int, device: torch.device) -> Envelope:
    """From the middles: no point of a cell is further than half its width in any direction, and no slope there is taken to
    be steeper than the steepest at the middles of the cell and those around. `draw` tells where that fails."""
    grid, log_density = covering_grid(tilt, num_dimensions, num_cells=num_cells, device=device)
    u = grid.middles().float().to(device)
    slopes = torch.cat([slope(rows)[1].abs() for rows in u.split(65536)])
    steepest = grid.neighbourhood_max(slopes).double().sum(dim=1)
    return Envelope(grid, log_density + 0.5 * grid.width * steepest, lambda u: slope(u)[0])
