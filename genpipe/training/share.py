"""Which examples of a batch a worker takes, and in which micro-batches."""

from __future__ import annotations

import itertools

from genpipe.errors import UsageError


def micro_batches(batch_size: int, accumulation: int, rank: int, size: int) -> list[tuple[int, int]]:
    """(first, count) of each micro-batch of worker `rank` of `size`, within the batch.

    Workers take consecutive shares, as even as can be, so every number of workers sees the same batch. All cut
    theirs into equally many micro-batches, none (but by one example) larger than those of one worker alone.
    """
    if batch_size < size:
        raise UsageError(f"train.batch_size is {batch_size} and train.workers {size}: each worker needs an example")
    smallest, largest = batch_size // size, -(-batch_size // size)
    num = min(-(-largest * accumulation // batch_size), smallest)
    first, stop = batch_size * rank // size, batch_size * (rank + 1) // size
    edges = [first + (stop - first) * i // num for i in range(num + 1)]
    return [(start, end - start) for start, end in itertools.pairwise(edges)]
