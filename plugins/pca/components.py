"""Leading principal components of a stream of examples: by the whole covariance, or by randomised iteration."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from genpipe import ops

OVERSAMPLING = 10  # directions beyond those asked for: sec. 4.2 of Halko, Martinsson & Tropp (2011)

Blocks = Callable[[], Iterable[Tensor]]
"""Gives blocks (B, D) float64 of the data, the same ones each time."""


class Principal(NamedTuple):
    """mean: (D,); variance: (K,), of each component, falling; directions: (K, D), orthonormal rows. All float64."""

    mean: Tensor
    variance: Tensor
    directions: Tensor


def by_covariance(blocks: Blocks, num: int) -> Principal:
    """The first `num` components, in one pass that keeps a D×D matrix."""
    whole = functools.reduce(ops.merge_moments, map(ops.moments, blocks()))
    values, vectors = torch.linalg.eigh(whole.m2 / whole.num)
    return Principal(whole.mean, values.flip(0)[:num].clamp(min=0), _signed(vectors.T.flip(0)[:num]))


def by_iteration(blocks: Blocks, num: int, num_passes: int) -> Principal:
    """The first `num` components by subspace iteration from seeded random directions, keeping D×(num + 10) numbers.

    Algorithm 4.4 of Halko, Martinsson & Tropp (2011), the data centred on the way; then Rayleigh and Ritz's values
    and vectors in the subspace found. Before the passes come one for the mean, after them one for the values.
    """
    total, mean = 0, torch.zeros(())
    for block in blocks():
        total += len(block)
        mean = mean + (block.mean(dim=0) - mean) * (len(block) / total)
    dims = len(mean)
    width = min(num + OVERSAMPLING, dims)
    basis = ops.normal(ops.key(0, "pca"), (dims, width), dtype=torch.float64)
    for _ in range(num_passes):
        basis, _ = torch.linalg.qr(basis)
        image = torch.zeros_like(basis)
        for block in blocks():
            centred = block - mean
            image += centred.T @ (centred @ basis)
        basis = image
    basis, _ = torch.linalg.qr(basis)
    inner = torch.zeros(width, width, dtype=torch.float64)
    for block in blocks():
        seen = (block - mean) @ basis
        inner += seen.T @ seen
    values, vectors = torch.linalg.eigh(inner / total)
    return Principal(mean, values.flip(0)[:num].clamp(min=0), _signed((basis @ vectors).T.flip(0)[:num]))


def _signed(directions: Tensor) -> Tensor:
    """With the largest number of each row positive: an eigenvector's sign is anybody's choice."""
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    return (directions * largest.sign()).contiguous()
