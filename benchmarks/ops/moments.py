"""The mean and the centred second moment of features, in float64."""

from __future__ import annotations

import torch

from benchmarks.ops.case import Case, label
from genpipe import ops


def cases(device: str) -> list[Case]:
    found = []
    for shape in ((50_000, 64), (10_000, 2048)):
        x = torch.randn(shape, device=device)
        centred = torch.randn(shape, dtype=torch.float64, device=device)

        def eager(x: torch.Tensor = x) -> object:
            exact = x.double()
            mean = exact.mean(dim=0)
            exact -= mean
            return mean, exact.T @ exact

        found.append(
            Case(
                f"moments, {label(shape)}",
                lambda x=x: ops.moments(x),
                eager,
                compiled=False,
                rivals={"the whole product alone": lambda centred=centred: centred.T @ centred},
                goals={"eager": 1.0},
                memory_limit=150_000_000,
                repeats=3,
            )
        )
    return found
