"""Which examples belong to which split: a function of the seed and of an example's number alone."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt


def split_by_hash(num_examples: int, fractions: dict[str, float], seed: int) -> dict[str, npt.NDArray[np.int64]]:
    """Indices of each split. Example i belongs where the hash of (seed, i) falls, whatever the worker count.

    Ranks of the hashes are cut, so that sizes are exact: round(fraction · N) each, the rest is "train".
    """
    order = _hash_order(num_examples, seed)
    splits, start = {}, 0
    for name, fraction in fractions.items():
        count = round(fraction * num_examples)
        splits[name] = np.sort(order[start : start + count])
        start += count
    splits["train"] = np.sort(order[start:])
    return splits


def subset_by_hash(num_examples: int, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Indices of `count` of the examples, sorted. The first ones would be no fair sample: files have an order."""
    return np.sort(_hash_order(num_examples, seed)[:count])


def _hash_order(num_examples: int, seed: int) -> npt.NDArray[np.int64]:
    digests = [hashlib.blake2b(f"{seed}:{i}".encode(), digest_size=8).digest() for i in range(num_examples)]
    return np.argsort(np.array([int.from_bytes(d, "big") for d in digests], dtype=np.uint64), kind="stable")
