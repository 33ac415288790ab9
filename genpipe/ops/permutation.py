"""Keyed permutations: a function of (seed, stream, index), evaluated where it is asked for, in constant memory."""

from __future__ import annotations

import torch
from torch import Tensor

from genpipe.ops import _extension  # noqa: F401
from genpipe.ops.random import device_of


def permutation(
    key: Tensor, n: int, *, start: int = 0, count: int | None = None, device: torch.device | str | None = None
) -> Tensor:
    """The images of start, …, start + count − 1 under the key's permutation of 0, …, n − 1: int64 (count,).

    Every n below 2**63 works in the same memory, so an epoch's order needs no array of its own: a batch asks for its
    part. Up to n = 6 all permutations are equally likely to 1e-5; large ones come from 8 rounds of a Feistel network
    over Philox (Black and Rogaway, CT-RSA 2002).

    key: int64 (2,), from ops.key; start: in 0, …, n; count: the rest, n − start, where not given; device: the key's
    where not given. RuntimeError names what is wrong.
    """
    count = n - start if count is None else count
    return torch.ops.genpipe.permutation(key, n, start, count, device_of(key, device))


@torch.library.register_fake("genpipe::permutation")
def _(key, n, start, count, device):
    return torch.empty(count, dtype=torch.int64, device=device)
