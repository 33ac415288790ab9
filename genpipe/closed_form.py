"""What families that are fitted in closed form share: blocks worth a matrix product, and data that has no density."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.model import Batch

BLOCK = 4096


def in_blocks(batches: Iterable[Batch], rows: int = BLOCK) -> Iterator[Batch]:
    """The examples of consecutive batches in blocks of `rows` or a little more, the last perhaps fewer.

    z: (B, D), flattened; noise: that of a block's first example, so that the others have theirs.
    """
    waiting: list[Batch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(len(one.z) for one in waiting) >= rows:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[Batch]) -> Batch:
    y = None if batches[0].y is None else torch.cat([one.y for one in batches if one.y is not None])
    return Batch(torch.cat([one.z.detach().flatten(1) for one in batches]), y, batches[0].noise)


def check_columns(constant: Tensor, spec: DataSpec) -> None:
    """DataError where a column has one value in all examples. constant: (D,) bool."""
    if constant.any():
        raise DataError(
            f"{int(constant.sum())} of {len(constant)} columns of data set '{spec.name}' are constant, first "
            f"column {int(constant.nonzero()[0])}: a density there is unbounded; drop these columns"
        )


def check_examples(num: int, spec: DataSpec, *, least: int = 1) -> None:
    """DataError where there are fewer training examples than `least`."""
    if num < least:
        raise DataError(
            f"data set '{spec.name}' has {num or 'no'} training examples"
            + ("" if num == 0 else f", and the fit needs {least}: give more data")
        )
