"""The Wasserstein distance between two sets of points."""

from __future__ import annotations

import math

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def wasserstein_2(first: Tensor, second: Tensor) -> float:
    """The least root mean square distance, in the points' units, over all ways to pair (N, D) with (N, D).

    Between two draws of N points of one distribution it is not 0, but falls with N as slowly as N^(−1/D) does (Fournier
    & Guillin, 2015): read it beside the oracle row.
    """
    costs = torch.cdist(first.double(), second.double(), compute_mode="donot_use_mm_for_euclid_dist").square().numpy()
    rows, columns = linear_sum_assignment(costs)
    return math.sqrt(float(costs[rows, columns].mean()))


def wasserstein_blocks(first: Tensor, second: Tensor, block: int, num_blocks: int) -> list[float]:
    """The distance of each of up to num_blocks blocks of `block` points, all that are there where these are fewer."""
    num = min(len(first), len(second))
    size = min(block, num)
    starts = range(0, min(num // size, num_blocks) * size, size)
    return [wasserstein_2(first[at : at + size], second[at : at + size]) for at in starts]
