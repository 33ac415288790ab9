"""Random numbers."""

from __future__ import annotations

import torch

from benchmarks.ops.case import Case
from genpipe import ops


def cases(device: str) -> list[Case]:
    key, numbers = ops.key(0, "benchmark"), 2**24
    shape = (64, numbers // 64)
    return [
        Case(
            "normal, 16 M",
            lambda: ops.normal(key, shape, device=device),
            lambda: torch.randn(shape, device=device),
            numbers=numbers,
        ),
        Case(
            "uniform, 16 M",
            lambda: ops.uniform(key, shape, device=device),
            lambda: torch.rand(shape, device=device),
            numbers=numbers,
        ),
    ]
