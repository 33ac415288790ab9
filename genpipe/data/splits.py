"""Which examples belong to which split: a function of the seed and of an example's number alone.

Every example has a hash, keyed by the seed. The order of the hashes is cut at exact ranks: the first examples in it
are held out, the rest trains. So any process can tell the split of any example without knowing the others', in
constant memory, and an example keeps its hash when more are appended to the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

HASH_BITS = 62
BIN_BITS = 16
BLOCK = 1 << 20  # examples that are hashed together


def hashes(seed: int, first: int, count: int) -> Integers:
    """Hashes of examples first … first + count − 1, each in [0, 2**62)."""
    from genpipe import ops  # with torch, which listing and planning do without

    return ops.randint(ops.key(seed, "split"), 2**HASH_BITS, (count,), first_index=first).numpy()


@dataclass(frozen=True)
class Cuts:
    """The hash order of a data set, cut into splits.

    sizes: examples of each split, in hash order; together at most num_examples, and what is left belongs to none.
    ends: (hash, number) of each split's last example; equal hashes go by number.
    """

    seed: int
    num_examples: int
    sizes: Mapping[str, int]
    ends: tuple[tuple[int, int], ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.sizes)

    def of(self, first: int, count: int) -> Integers:
        """The split of examples first … first + count − 1, as a place in `names`; len(names) where it is none."""
        value = hashes(self.seed, first, count)
        last = np.array([end for end, _ in self.ends], dtype=np.int64)
        split = np.searchsorted(last, value)
        for tied in np.flatnonzero(np.isin(value, last)):
            pair = (int(value[tied]), first + int(tied))
            split[tied] = next((k for k, end in enumerate(self.ends) if pair <= end), len(self.ends))
        return split


def cut(num_examples: int, sizes: Mapping[str, int], seed: int) -> Cuts:
    """Cuts the hash order of `num_examples` examples so that the splits have exactly these sizes."""
    ranks = [end - 1 for end in accumulate(sizes.values())]
    if ranks and ranks[-1] >= num_examples:
        raise ValueError(f"sizes {dict(sizes)} are more than {num_examples} examples")
    return Cuts(seed, num_examples, dict(sizes), tuple(_by_rank(seed, num_examples, ranks)))


def split_sizes(num_examples: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """round(fraction · N) examples each, as long as there are any; the rest is "train"."""
    sizes, left = {}, num_examples
    for name, fraction in fractions.items():
        sizes[name] = min(round(fraction * num_examples), left)
        left -= sizes[name]
    return {**sizes, "train": left}


def _by_rank(seed: int, num_examples: int, ranks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(hash, number) of the examples at ranks of the hash order, (−1, −1) for rank −1.

    Two passes that keep little: how many hashes share their leading bits, then the few that share them with a rank's.
    """
    shift = HASH_BITS - BIN_BITS
    counts = np.zeros(1 << BIN_BITS, dtype=np.int64)
    for _, value in _blocks(seed, num_examples):
        counts += np.bincount(value >> shift, minlength=len(counts))
    through = np.cumsum(counts)
    bins = np.searchsorted(through, ranks, side="right")
    wanted = np.zeros(len(counts), dtype=bool)
    wanted[bins[np.asarray(ranks, dtype=np.int64) >= 0]] = True
    found: list[tuple[Integers, Integers]] = []
    for first, value in _blocks(seed, num_examples):
        near = np.flatnonzero(wanted[value >> shift])
        found.append((value[near], first + near))
    value = np.concatenate([v for v, _ in found] or [np.empty(0, dtype=np.int64)])
    number = np.concatenate([n for _, n in found] or [np.empty(0, dtype=np.int64)])
    order = np.lexsort((number, value))
    value, number = value[order], number[order]
    for rank, place in zip(ranks, bins, strict=True):
        if rank < 0:
            yield -1, -1
            continue
        before = int(through[place] - counts[place])  # hashes in smaller bins
        at = int(np.searchsorted(value, int(place) << shift)) + rank - before
        yield int(value[at]), int(number[at])


def _blocks(seed: int, num_examples: int) -> Iterator[tuple[int, Integers]]:
    for first in range(0, num_examples, BLOCK):
        yield first, hashes(seed, first, min(BLOCK, num_examples - first))


def split_by_hash(num_examples: int, fractions: Mapping[str, float], seed: int) -> dict[str, Integers]:
    """Numbers of each split's examples, sorted: round(fraction · N) each, the rest is "train". For small sets."""
    cuts = cut(num_examples, split_sizes(num_examples, fractions), seed)
    split = cuts.of(0, num_examples)
    return {name: np.flatnonzero(split == k) for k, name in enumerate(cuts.names)}


def subset_by_hash(num_examples: int, count: int, seed: int) -> Integers:
    """Numbers of `count` of the examples, sorted. The first ones would be no fair sample: files have an order."""
    cuts = cut(num_examples, {"kept": min(count, num_examples)}, seed)
    kept = [
        first + np.flatnonzero(cuts.of(first, min(BLOCK, num_examples - first)) == 0)
        for first in range(0, num_examples, BLOCK)
    ]
    return np.concatenate(kept) if kept else np.empty(0, dtype=np.int64)
