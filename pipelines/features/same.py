"""Examples that are the same byte for byte, found by hash."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from genpipe.evaluation import Examples

Hashes = npt.NDArray[np.uint64]
BLOCK = 4096


def example_hashes(x: Examples, dtype: str) -> Hashes:
    """(N,), 64 bits of BLAKE2b of each example as numbers of `dtype`: two that differ share one once in 2**64 pairs."""
    found = np.empty(len(x), dtype=np.uint64)
    for start in range(0, len(x), BLOCK):
        block = np.ascontiguousarray(np.asarray(x[start : start + BLOCK]), dtype=dtype)
        block = block + block.dtype.type(0)  # −0 is 0
        for row, example in enumerate(block.reshape(len(block), -1)):
            digest = hashlib.blake2b(example.data, digest_size=8).digest()
            found[start + row] = int.from_bytes(digest, "little")
    return found


def num_found(hashes: Hashes, among: Hashes) -> int:
    """How many of the examples are among others."""
    return int(np.isin(hashes, among).sum())
