"""Statistics of a split that can be gathered shard by shard and merged: the same for any number of workers."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np

from genpipe.data import Array
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError

CHUNK_BYTES = 8 << 20


def has_moments(spec: DataSpec) -> bool:
    """Whether the data set's units are its mean and deviation, and so need them."""
    return spec.event != "image" and spec.levels is None and (spec.low is None or spec.high is None)


@dataclasses.dataclass(frozen=True)
class Moments:
    """Per dimension, (D,) float64. squares: sum of squared deviations from the mean."""

    mean: Array
    squares: Array
    lowest: Array
    highest: Array


@dataclasses.dataclass(frozen=True)
class Statistics:
    """num: examples; low, high: of all values; label_counts: per class, where there are classes; only: the digest of the
    one example that all of them are copies of, None where they differ."""

    num: int
    low: float
    high: float
    label_counts: Array | None = None
    moments: Moments | None = None
    only: str | None = None

    @classmethod
    def of(cls, spec: DataSpec, x: Array, y: Array | None) -> Statistics:
        """Of x (n, *spec.shape), n at least 1, and y (n,) or None."""
        counts = np.bincount(y, minlength=spec.num_classes) if y is not None and spec.num_classes else None
        rows = max(1, CHUNK_BYTES // (8 * spec.num_dimensions))
        chunks = [_of_chunk(spec, x[start : start + rows]) for start in range(0, len(x), rows)]
        return dataclasses.replace(merged(chunks), label_counts=counts)

    def to_json(self) -> dict[str, Any]:
        moments = None if self.moments is None else {k: v.tolist() for k, v in vars(self.moments).items()}
        counts = None if self.label_counts is None else self.label_counts.tolist()
        return {**vars(self), "label_counts": counts, "moments": moments}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Statistics:
        counts, moments = fields["label_counts"], fields["moments"]
        return cls(
            fields["num"],
            fields["low"],
            fields["high"],
            None if counts is None else np.array(counts, dtype=np.int64),
            None if moments is None else Moments(**{k: np.array(v, dtype=np.float64) for k, v in moments.items()}),
            fields["only"],
        )


def _of_chunk(spec: DataSpec, x: Array) -> Statistics:
    low, high = float(x.min()), float(x.max())
    only = hashlib.sha256(np.ascontiguousarray(x[0]).data).hexdigest() if (x == x[:1]).all() else None
    if not has_moments(spec):
        return Statistics(len(x), low, high, only=only)
    flat = x.reshape(len(x), -1).astype(np.float64)
    mean = flat.mean(axis=0)
    moments = Moments(mean, ((flat - mean) ** 2).sum(axis=0), flat.min(axis=0), flat.max(axis=0))
    return Statistics(len(x), low, high, moments=moments, only=only)


def merged(parts: Sequence[Statistics]) -> Statistics:
    """Of all the examples of the parts together; the same to the last bit for the same parts in the same order."""
    return reduce(_merge, parts)


def _merge(a: Statistics, b: Statistics) -> Statistics:
    counts = moments = None
    if a.label_counts is not None and b.label_counts is not None:
        counts = a.label_counts + b.label_counts
    if a.moments is not None and b.moments is not None:
        moments = _merge_moments(a.moments, a.num, b.moments, b.num)
    only = a.only if a.only == b.only else None
    return Statistics(a.num + b.num, min(a.low, b.low), max(a.high, b.high), counts, moments, only)


def _merge_moments(a: Moments, num_a: int, b: Moments, num_b: int) -> Moments:
    """Chan, Golub and LeVeque (1983), eqs. 2.1."""
    num, delta = num_a + num_b, b.mean - a.mean
    return Moments(
        a.mean + delta * (num_b / num),
        a.squares + b.squares + delta**2 * (num_a * num_b / num),
        np.minimum(a.lowest, b.lowest),
        np.maximum(a.highest, b.highest),
    )


def with_statistics(spec: DataSpec, train: Statistics) -> DataSpec:
    """The spec with what the training split says of it: p(y), and mean and deviation per dimension, where its units
    are those."""
    if train.low == train.high:
        raise DataError(
            f"data set '{spec.name}': every value of the training split is {train.low:g}, and there is nothing to learn "
            f"from; is this the right file, array or column?{_lost(spec, train.low)}"
        )
    if train.label_counts is not None and train.label_counts.sum():
        fractions = train.label_counts / train.label_counts.sum()
        spec = dataclasses.replace(spec, class_fractions=tuple(fractions.tolist()))
    moments = train.moments
    if moments is None:
        return spec
    constant = np.flatnonzero(moments.highest == moments.lowest)
    if len(constant):
        listed = ", ".join(str(i) for i in constant[:8]) + (" …" if len(constant) > 8 else "")
        raise DataError(
            f"data set '{spec.name}': {len(constant)} of {len(moments.mean)} columns are constant in the "
            f"training split ({listed}) and carry no information; leave them out"
            + _lost(spec, float(moments.highest[constant[0]]))
        )
    std = np.sqrt(moments.squares / train.num)
    return dataclasses.replace(spec, mean=tuple(moments.mean.tolist()), std=tuple(std.tolist()))


def _coarse(where: str, moments: Moments, num: int) -> Iterator[str]:
    largest = np.maximum(np.abs(moments.lowest), np.abs(moments.highest)).astype(np.float32)
    in_steps = np.sqrt(moments.squares / num) / np.spacing(largest)
    column = int(in_steps.argmin())
    if in_steps[column] < FEW_STEPS:
        yield (
            f"{where}: column {column} is {moments.mean[column]:g} with a deviation of {in_steps[column]:.2g} steps of "
            "float32, in which examples are kept: subtract what all its values share"
        )


def _lost(spec: DataSpec, value: float) -> str:
    """That float32 may be why values of this size are all one; empty where it tells whole numbers apart with ease."""
    step = _step(value)
    if spec.dtype != "float32" or step < WIDE_STEP:
        return ""
    return f". Examples are kept in float32, whose steps are {step:g} there: subtract what all values share"


def _step(value: float) -> float:
    """Between a number of this size and the next of float32."""
    return float(np.spacing(np.float32(abs(value))))


WIDE_STEP = 0.01
FEW_STEPS = 100  # in a deviation: densities then are of float32's steps as much as of the data
UNUSED = 8  # a range of which less than this part is used is more often a mistake than dark pictures


def doubts(spec: DataSpec, train: Statistics) -> Iterator[str]:
    """What the training split says against the spec without disproving it: levels and ranges that are hardly used, for
    bits per dimension would be of bins where nothing ever is; and labels of one class."""
    where = f"data set '{spec.name}'"
    if train.only is not None:
        yield f"{where}: all {train.num} examples of the training split are copies of one"
    if train.moments is not None:
        yield from _coarse(where, train.moments, train.num)
    if spec.levels is not None and spec.levels > 2 and (train.high + 1) * UNUSED <= spec.levels:
        yield (
            f"{where}: levels is {spec.levels}, and the largest value of the training split is {train.high:g}: "
            f"are they {int(train.high) + 1} levels?"
        )
    elif spec.low is not None and spec.high is not None and (train.high - train.low) * UNUSED <= spec.high - spec.low:
        yield (
            f"{where}: the range is [{spec.low:g}, {spec.high:g}], and the training split has values in "
            f"[{train.low:g}, {train.high:g}] alone: are low and high those of the data?"
        )
    if train.label_counts is not None and (train.label_counts > 0).sum() == 1:
        label = int(train.label_counts.argmax())
        yield f"{where}: all examples of the training split have the label {label}, which so tells nothing"
