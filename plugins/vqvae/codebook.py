"""The codebook: nearest entries, running means of what they stand for, and new life for those that nothing uses."""

from __future__ import annotations

import torch
from torch import Tensor

from genpipe import ops


def nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Numbers (N,) int64 of the entries nearest to vectors (N, D); codebook: (K, D).

    Decided in float64, so that the answer depends on no batch; equal distances take the smaller number. What is not finite
    counts as 0: the loss of a training that diverges is to tell of it.
    """
    if len(vectors) == 0:
        return torch.zeros(0, dtype=torch.int64, device=vectors.device)
    return ops.knn_distances(vectors.detach().float().nan_to_num(0, 0, 0), codebook.nan_to_num(0, 0, 0), 1)[1][:, 0]


def usage(tokens: Tensor, vectors: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
    """How many vectors (N, D) fell to each entry, (K,), and their sums, (K, D)."""
    counts = torch.zeros(num_codes, device=vectors.device).index_add_(0, tokens, vectors.new_ones(len(tokens)))
    sums = torch.zeros(num_codes, vectors.shape[1], device=vectors.device).index_add_(0, tokens, vectors)
    return counts, sums


def perplexity(counts: Tensor) -> Tensor:
    """e to the entropy of the entries' shares: K where all are used alike, 1 where one is."""
    shares = counts / counts.sum().clamp(min=torch.finfo(counts.dtype).tiny)
    return torch.special.entr(shares).sum().exp()


def moving_average(average: Tensor, value: Tensor, decay: float) -> None:
    """In place: N ← γ N + (1 − γ) n (van den Oord et al., 2017, eq. 6–7)."""
    average.mul_(decay).add_(value, alpha=1 - decay)


def least_used(counts: Tensor, share: float, most: int) -> tuple[Tensor, Tensor]:
    """Numbers of at most `most` entries, the least used first, and which of them are dead: their running count is no more
    than `share` of an even one. All entries are candidates, so that no accelerator has to be asked how many are dead.

    At the start all are at zero: the codebook's first entries are vectors that the encoder gives.
    """
    order = counts.argsort(stable=True)[:most]
    return order, counts[order] <= share * counts.sum() / len(counts)
