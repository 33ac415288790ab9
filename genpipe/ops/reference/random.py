"""Philox4x32-10 (Salmon et al., SC 2011) in integers, and the numbers made of it, bit for bit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF


def philox(seed: int, stream: int, blocks: Tensor, second_plane: bool = False) -> Tensor:
    """The words of the given blocks, int64 (n, 4), each in [0, 2**32); blocks: int64 (n,)."""
    high = (blocks >> 32) | (0x80000000 if second_plane else 0)
    counter = [blocks & _WORD, high, torch.full_like(blocks, stream & _WORD), torch.full_like(blocks, stream >> 32)]
    k0, k1 = seed & _WORD, (seed >> 32) & _WORD
    for _ in range(10):
        hi0, lo0 = _product(0xD2511F53, counter[0])
        hi1, lo1 = _product(0xCD9E8D57, counter[2])
        counter = [hi1 ^ counter[1] ^ k0, lo1, hi0 ^ counter[3] ^ k1, lo0]
        k0, k1 = (k0 + 0x9E3779B9) & _WORD, (k1 + 0xBB67AE85) & _WORD
    return torch.stack(counter, dim=1)


def _product(a: int, b: Tensor) -> tuple[Tensor, Tensor]:
    """The upper and lower 32 bits of a 64-bit product, without leaving signed 64-bit integers."""
    low = (a & 0xFFFF) * b
    middle = (a >> 16) * b + (low >> 16)
    return (middle >> 16) & _WORD, ((middle & 0xFFFF) << 16) | (low & 0xFFFF)


def words(key: Tensor, shape: Sequence[int], first_index: int = 0, second_plane: bool = False) -> Tensor:
    """The random word of each element, int64 of the given shape."""
    num, columns = shape[0], math.prod(shape[1:])
    per_row = -(-columns // 4)
    blocks = torch.arange(num * per_row) + first_index * per_row
    seed, stream = key.tolist()
    rows = philox(seed, stream, blocks, second_plane).reshape(num, 4 * per_row)
    return rows[:, :columns].reshape(tuple(shape))


def uniform(key: Tensor, shape: Sequence[int], *, first_index: int = 0) -> Tensor:
    """ops.uniform in float64: the leading 53 of an element's 64 bits."""
    high, low = words(key, shape, first_index), words(key, shape, first_index, second_plane=True)
    return ((high << 21) | (low >> 11)).double() * 2.0**-53


def gumbel(key: Tensor, shape: Sequence[int], *, first_index: int = 0) -> Tensor:
    """ops.gumbel in float64: −log(−log(1−u)), u the midpoint of the cell of an element's leading 52 bits."""
    high, low = words(key, shape, first_index), words(key, shape, first_index, second_plane=True)
    u = (((high << 20) | (low >> 12)).double() + 0.5) * 2.0**-52
    return -(-(-u).log1p()).log()


def rademacher(key: Tensor, shape: Sequence[int], *, first_index: int = 0) -> Tensor:
    """ops.rademacher: the sign of an element's first bit."""
    return 1.0 - 2.0 * (words(key, shape, first_index) >> 31).double()


def bernoulli(key: Tensor, probs: Tensor, *, first_index: int = 0) -> Tensor:
    """ops.bernoulli: whether an element's bits, 53 for float64 and 32 for the others, lie below p."""
    if probs.dtype == torch.float64:
        u = uniform(key, probs.shape, first_index=first_index)
    else:
        u = words(key, probs.shape, first_index).double() * 2.0**-32
    valid = (probs >= 0) & (probs <= 1)
    return torch.where(valid, (u < probs.double()).double(), math.nan).to(probs.dtype)


def randint(key: Tensor, high: int, shape: Sequence[int], *, first_index: int = 0) -> Tensor:
    """ops.randint, in Python's integers."""
    first, second = words(key, shape, first_index), words(key, shape, first_index, second_plane=True)
    values = [
        (((a << 32) | b) * high) >> 64 for a, b in zip(first.ravel().tolist(), second.ravel().tolist(), strict=True)
    ]
    return torch.tensor(values, dtype=torch.int64).reshape(tuple(shape))


def normal(key: Tensor, shape: Sequence[int], *, first_index: int = 0) -> Tensor:
    """ops.normal in float64, by Box and Muller: words 0 and 1 of a block give elements 0 and 1, 2 and 3 the others."""
    num, columns = shape[0], math.prod(shape[1:])
    padded = (num, -(-columns // 4) * 2, 2)
    high, low = words(key, padded, first_index), words(key, padded, first_index, second_plane=True)
    radius_bits, angle_bits = ((high << 20) | (low >> 12))[..., 0], ((high << 20) | (low >> 12))[..., 1]
    radius = (-2 * ((radius_bits.double() + 0.5) * 2.0**-52).log()).sqrt()
    angle = 2 * math.pi * (angle_bits.double() * 2.0**-52)
    z = torch.stack((radius * angle.cos(), radius * angle.sin()), dim=-1)
    return z.reshape(num, padded[1] * 2)[:, :columns].reshape(tuple(shape))
