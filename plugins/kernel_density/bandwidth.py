"""The bandwidth that makes examples likeliest under the kernels of all others: leave-one-out cross-validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from genpipe import ops
from genpipe.plugins.kernel_density.kernels import QUERIES, log_constant, squared_distances

COARSE, RATIO = 20, 2.0
"""Bandwidths tried from twice the data's deviation down, each so much smaller than the one before."""
FINE = 9
"""Then between the neighbours of the best, both included."""


def leave_one_out(examples: Tensor, chosen: Tensor, bandwidths: Sequence[float]) -> Tensor:
    """Mean log-likelihood of the examples `chosen` (Q,), each under the kernels on all others, for each bandwidth: (H,).

    Habbema et al. (1974). Copies of an example are left out with it: otherwise they would make the narrowest
    kernels the best, and no density.
    """
    num_dimensions, device = examples.shape[1], examples.device
    constants = torch.tensor(
        [log_constant(1, num_dimensions, b) for b in bandwidths], dtype=torch.float64, device=device
    )
    total = torch.zeros(len(bandwidths), dtype=torch.float64, device=device)
    for queries in chosen.split(QUERIES):
        rows = examples[queries]
        nearest = ops.knn_distances(rows, examples, 1, beyond=0.0)[0].square()
        sums = torch.full((len(bandwidths), len(rows)), -math.inf, dtype=torch.float64, device=device)
        others = torch.zeros(len(rows), dtype=torch.float64, device=device)
        for _, squares in squared_distances(rows, examples):
            squares[squares < 0.5 * nearest] = math.inf  # itself and its copies
            others += squares.isfinite().sum(1)
            for h, bandwidth in enumerate(bandwidths):
                scaled = torch.exp((nearest - squares) * (0.5 / bandwidth**2)).sum(1).log()
                sums[h] = torch.logaddexp(sums[h], scaled - nearest[:, 0] * (0.5 / bandwidth**2))
        total += (sums - others.log() + constants[:, None]).sum(1)
    return total / len(chosen)


def cross_validated(examples: Tensor, chosen: Tensor, report: Callable[[int, int], None]) -> tuple[float, float]:
    """(bandwidth, mean log-likelihood of the examples left out, nats). report: (bandwidths tried, of how many)."""
    top = 2 * math.sqrt(float(examples.double().var(0, correction=0).mean()))
    coarse = [top / RATIO**k for k in range(COARSE)]
    best = coarse[int(leave_one_out(examples, chosen, coarse).argmax())]
    report(COARSE, COARSE + FINE)
    fine = [best * RATIO ** (2 * k / (FINE - 1) - 1) for k in range(FINE)]
    values = leave_one_out(examples, chosen, fine)
    report(COARSE + FINE, COARSE + FINE)
    at = int(values.argmax())
    return fine[at], float(values[at])
