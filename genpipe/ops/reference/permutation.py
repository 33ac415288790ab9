"""The keyed permutation in Python's integers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genpipe.ops.reference.random import philox


def permutation(key: Tensor, n: int, *, start: int = 0, count: int | None = None) -> Tensor:
    """ops.permutation: a Feistel network over the rectangle a × b ≥ n, walked until it stays below n."""
    a = math.isqrt(n - 1) + 1
    b = -(-n // a)
    seed, stream = key.tolist()

    def offset(round: int, coordinate: int, size: int) -> int:
        high, low, *_ = philox(seed, stream, torch.tensor([round << 32 | coordinate]))[0].tolist()
        return ((high << 32 | low) * size) >> 64

    def once(x: int) -> int:
        left, right = divmod(x, b)
        for round in range(0, 24 if n < 2**16 else 8, 2):
            left = (left + offset(round, right, a)) % a
            right = (right + offset(round + 1, left, b)) % b
        return left * b + right

    images = []
    for x in range(start, n if count is None else start + count):
        y = once(x)
        while y >= n:
            y = once(y)
        images.append(y)
    return torch.tensor(images, dtype=torch.int64)
