"""Nearest neighbours, and what precision, recall, density and coverage are made of.

Features are normal, which leaves float32 fewer digits than clustered ones would. The torch side is inexact: its
distances come out of float32 products.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.ops.case import Case, label
from genpipe import ops

NUM, K, ROWS = 10_000, 5, 1000


def ours(real: Tensor, fake: Tensor) -> object:
    real_radii, fake_radii = (ops.knn_distances(x, x, K, exclude_self=True)[0][:, -1] for x in (real, fake))
    return ops.ball_counts(fake, real, query_radii=fake_radii, reference_radii=real_radii)


def radii(x: Tensor) -> Tensor:
    """To the k-th neighbour, the point itself being the first."""
    return torch.cat([torch.cdist(rows, x).topk(K + 1, largest=False).values[:, -1] for rows in x.split(ROWS)])


def eager(real: Tensor, fake: Tensor) -> object:
    real_radii, fake_radii = radii(real), radii(fake)
    contained, recalled = [], torch.zeros(len(real), dtype=torch.bool, device=real.device)
    covered = torch.zeros_like(recalled)
    for rows, own in zip(fake.split(ROWS), fake_radii.split(ROWS), strict=True):
        distances = torch.cdist(rows, real)
        in_real = distances < real_radii
        contained.append(in_real.sum(dim=1))
        covered |= in_real.any(dim=0)
        recalled |= (distances < own[:, None]).any(dim=0)
    return torch.cat(contained), recalled, covered


def prdc(real: Tensor, fake: Tensor) -> Callable[[], object]:
    compute = importlib.import_module("prdc").compute_prdc
    arrays = real.numpy(), fake.numpy()

    def side() -> object:
        with contextlib.redirect_stdout(io.StringIO()):
            return compute(*arrays, nearest_k=K)

    return side


def cases(device: str) -> list[Case]:
    has_prdc = device == "cpu" and importlib.util.find_spec("prdc") is not None
    found = []
    for dims in (64, 2048):
        real, fake = torch.randn(NUM, dims, device=device), 0.98 * torch.randn(NUM, dims, device=device)
        found.append(
            Case(
                f"precision, recall, density, coverage, {label((NUM, NUM))}, {dims} dimensions",
                lambda real=real, fake=fake: ours(real, fake),
                lambda real=real, fake=fake: eager(real, fake),
                compiled=False,
                rivals={"prdc": prdc(real, fake)} if has_prdc else {},
                goals={"prdc": 3.0} if has_prdc else {},
                memory_limit=200_000_000,
                repeats=1 if has_prdc and dims > 64 else 3,
            )
        )
        found.append(
            Case(
                f"nearest neighbour, {label((NUM, NUM))}, {dims} dimensions",
                lambda real=real, fake=fake: ops.knn_distances(fake, real, 1),
                lambda real=real, fake=fake: [torch.cdist(rows, real).min(dim=1) for rows in fake.split(ROWS)],
                compiled=False,
                repeats=3,
            )
        )
    return found
