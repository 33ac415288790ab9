"""Random numbers."""

from __future__ import annotations

import torch

from benchmarks.ops.case import Case
from genpipe import ops


def cases(device: str) -> list[Case]:
    key, numbers = ops.key(0, "benchmark"), 2**24
    shape = (64, numbers // 64)
    probs = torch.rand(shape, device=device)
    return [
        Case(
            "normal, 16 M",
            lambda: ops.normal(key, shape, device=device),
            lambda: torch.randn(shape, device=device),
            numbers=numbers,
            moved_bytes=4 * numbers,
        ),
        Case(
            "uniform, 16 M",
            lambda: ops.uniform(key, shape, device=device),
            lambda: torch.rand(shape, device=device),
            numbers=numbers,
            moved_bytes=4 * numbers,
        ),
        Case(
            "Gumbel, 16 M",
            lambda: ops.gumbel(key, shape, device=device),
            lambda: torch.empty(shape, device=device).exponential_().log_().neg_(),
            numbers=numbers,
        ),
        Case(
            "Bernoulli, 16 M",
            lambda: ops.bernoulli(key, probs),
            lambda: torch.bernoulli(probs),
            numbers=numbers,
            moved_bytes=8 * numbers,
        ),
        Case(
            "Rademacher, 16 M",
            lambda: ops.rademacher(key, shape, device=device),
            lambda: torch.randint(2, shape, device=device).mul_(2).sub_(1).float(),
            numbers=numbers,
        ),
        Case(
            "permutation of 2²²",
            lambda: ops.permutation(key, 2**22, device=device),
            lambda: torch.randperm(2**22, device=device),
            numbers=2**22,
        ),
    ]
