"""Sums of Gaussian kernels over many examples, in blocks of both: no matrix of all distances."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

QUERIES, EXAMPLES = 512, 8192


@dataclass(frozen=True)
class Kernels:
    """p(z) = 1/N Σ_j N(z; x_j, h² I). examples: (N, D), any floating type; bandwidth: h. Computes in float64."""

    examples: Tensor
    bandwidth: float

    def log_prob(self, z: Tensor) -> Tensor:
        """(B,) nats for z (B, D)."""
        parts = [self._log_kernels_summed(rows) for rows in z.split(QUERIES)]
        return torch.cat(parts) + self._constant

    def score(self, z: Tensor) -> Tensor:
        """∇ log p(z), (B, D): (Σ_j w_j x_j − z) / h², w_j each kernel's share of the density."""
        answers = []
        for rows in z.split(QUERIES):
            total, mean = self._log_kernels_summed(rows), torch.zeros_like(rows, dtype=torch.float64)
            for start, squares in squared_distances(rows, self.examples):
                examples = self.examples[start : start + squares.shape[1]].double()
                mean += (squares * self._slope - total[:, None]).exp() @ examples
            answers.append((mean - rows.double()) / self.bandwidth**2)
        return torch.cat(answers)

    def _log_kernels_summed(self, rows: Tensor) -> Tensor:
        """log Σ_j exp(−|z − x_j|² / 2h²), (b,)."""
        parts = [torch.logsumexp(squares * self._slope, dim=1) for _, squares in squared_distances(rows, self.examples)]
        return torch.logsumexp(torch.stack(parts), dim=0)

    @property
    def _slope(self) -> float:
        return -0.5 / self.bandwidth**2

    @property
    def _constant(self) -> float:
        num, num_dimensions = self.examples.shape
        return log_constant(num, num_dimensions, self.bandwidth)


def log_constant(num: int, num_dimensions: int, bandwidth: float) -> float:
    """log of 1 / (N (2π h²)^(D/2))."""
    return -math.log(num) - 0.5 * num_dimensions * math.log(2 * math.pi * bandwidth**2)


def squared_distances(rows: Tensor, examples: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(first example, squared distances (b, n) float64) of rows (b, D) to the examples, EXAMPLES at a time."""
    centre = rows.double().mean(0) if len(rows) else 0.0  # near both, so that the product below loses few digits
    centred = rows.double() - centre
    norms = centred.square().sum(1)
    for start in range(0, len(examples), EXAMPLES):
        others = examples[start : start + EXAMPLES].double() - centre
        product = torch.addmm(others.square().sum(1).expand(len(rows), -1), centred, others.T, alpha=-2)
        yield start, product.add_(norms[:, None]).clamp_(min=0)
