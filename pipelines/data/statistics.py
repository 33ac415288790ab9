"""Statistics of a split that can be gathered shard by shard and merged: the same for any number of workers."""

from __future__ import annotations

import dataclasses
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
    """num: examples; low, high: of all values; label_counts: per class, where there are classes."""

    num: int
    low: float
    high: float
    label_counts: Array | None = None
    moments: Moments | None = None

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
        return {"num": self.num, "low": self.low, "high": self.high, "label_counts": counts, "moments": moments}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Statistics:
        counts, moments = fields["label_counts"], fields["moments"]
        return cls(
            fields["num"],
            fields["low"],
            fields["high"],
            None if counts is None else np.array(counts, dtype=np.int64),
            None if moments is None else Moments(**{k: np.array(v, dtype=np.float64) for k, v in moments.items()}),
        )


def _of_chunk(spec: DataSpec, x: Array) -> Statistics:
    low, high = float(x.min()), float(x.max())
    if not has_moments(spec):
        return Statistics(len(x), low, high)
    flat = x.reshape(len(x), -1).astype(np.float64)
    mean = flat.mean(axis=0)
    moments = Moments(mean, ((flat - mean) ** 2).sum(axis=0), flat.min(axis=0), flat.max(axis=0))
    return Statistics(len(x), low, high, moments=moments)


def merged(parts: Sequence[Statistics]) -> Statistics:
    """Of all the examples of the parts together; the same to the last bit for the same parts in the same order."""
    return reduce(_merge, parts)


def _merge(a: Statistics, b: Statistics) -> Statistics:
    counts = moments = None
    if a.label_counts is not None and b.label_counts is not None:
        counts = a.label_counts + b.label_counts
    if a.moments is not None and b.moments is not None:
        moments = _merge_moments(a.moments, a.num, b.moments, b.num)
    return Statistics(a.num + b.num, min(a.low, b.low), max(a.high, b.high), counts, moments)


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
            "from; is this the right file, array or column?"
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
        )
    std = np.sqrt(moments.squares / train.num)
    return dataclasses.replace(spec, mean=tuple(moments.mean.tolist()), std=tuple(std.tolist()))


UNUSED = 8  # a range of which less than this part is used is more often a mistake than dark pictures


def doubts(spec: DataSpec, train: Statistics) -> Iterator[str]:
    """What the training split says against the spec without disproving it: levels and ranges that are hardly used, for
    bits per dimension would be of bins where nothing ever is; and labels of one class."""
    where = f"data set '{spec.name}'"
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
