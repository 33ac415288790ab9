"""Keys of the counter-based random numbers."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=4096)
def stream_number(name: str) -> int:
    """The stream that a name stands for: 63 bits of its SHA-256, the same on every machine and for ever."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") >> 1


def key(seed: int, stream: int | str) -> Tensor:
    """The key of one stream of random numbers: int64 of shape (2,), on the CPU.

    Streams of one seed, and seeds of one stream, are independent. Give every purpose a stream of its own, by name
    (``"train/noise"``) or by number; sampling by the thousand steps wants numbers, which cost no hashing.

    seed: any integer of 64 bits, signed; stream: an integer of 63 bits, or a name. ValueError outside of that.
    """
    number = stream_number(stream) if isinstance(stream, str) else int(stream)
    if not -(2**63) <= seed < 2**63:
        raise ValueError(f"genpipe.key: seed must fit a signed 64-bit integer, got {seed}")
    if not 0 <= number < 2**63:
        raise ValueError(f"genpipe.key: stream must be a name or an integer in [0, 2**63), got {stream}")
    return torch.tensor((seed, number), dtype=torch.int64)
