"""What must hold before anything is scored: samples that can be compared, and enough of them."""

from __future__ import annotations

import numpy as np

from genpipe.data import Array, Split, check_examples
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError, UsageError

BLOCK = 4096


def choose_num(asked: int | None, train: Split, test: Split, num_samples: int | None) -> int:
    """The size of every row: the oracle's examples are held out, the copies' are training examples.

    num_samples: how many samples there are, None where more can be drawn.
    """
    there = {f"{len(test)} examples are held out": len(test), f"{len(train)} were trained on": len(train)}
    if num_samples is not None:
        there[f"{num_samples} samples were given"] = num_samples
    most = min(there.values())
    if asked is not None and asked > most:
        *first, last = there
        raise UsageError(
            f"evaluate.num is {asked}, but {', '.join(first)} and {last}; every row has the same size, so at most {most}"
        )
    return asked or most


def check_samples(x: Array, spec: DataSpec) -> None:
    """DataError where samples x are not such as the data's: shape, type, range, finite, at least two."""
    where = "samples"
    if x.ndim == 0 or x.dtype.kind not in "uif":
        raise DataError(f"{where} have type {x.dtype} and shape {x.shape}, expected numbers of shape {_shape(spec)}")
    if x.shape[1:] != spec.shape:
        raise DataError(f"{where} have shape {x.shape}, expected {_shape(spec)}, as '{spec.name}' has it")
    if len(x) < 2:
        raise DataError(f"{where}: there are {len(x)}, expected at least 2")
    try:
        for start in range(0, len(x), BLOCK):
            check_examples(spec, np.asarray(x[start : start + BLOCK]), None, where, start)
    except DataError as error:
        raise DataError(f"{error}{_hint(x, spec)}") from None


def are_all_equal(x: Array) -> bool:
    """Whether every example is the same: a generator that has collapsed to one point."""
    return all(bool((x[start : start + BLOCK] == x[:1]).all()) for start in range(0, len(x), BLOCK))


def _shape(spec: DataSpec) -> str:
    return f"(N, {', '.join(map(str, spec.shape))})"


def _hint(x: Array, spec: DataSpec) -> str:
    """What a common mistake looks like: images scaled to [0, 1] or [−1, 1] where the data has whole levels."""
    if spec.levels is None or x.dtype.kind != "f":
        return ""
    low, high = float(np.nanmin(x)), float(np.nanmax(x))
    if low >= -1 and high <= 1:
        shown = "[0, 1]" if low >= 0 else "[−1, 1]"
        return f"; they seem to be scaled to {shown}: '{spec.name}' is whole numbers 0 … {spec.levels - 1}"
    return ""
