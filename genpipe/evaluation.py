"""The metric contract: rows of a table, scored shard by shard and merged.

A metric is prepared with what rows are held against. Then `shard` gives the state of each range of a row's examples,
`merge` that of ranges together, and `result` a row's cells. Several processes share the shards, each with a metric of
its own. A state is a dict of float64 or int64 tensors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.model import LogProb
from genpipe.neighbours import DistanceRatios, distance_ratios
from genpipe.table import Estimate as Estimate

State = dict[str, Tensor]


class LogDensity(Protocol):
    """Log-probabilities of examples in data units; `Model.log_prob` is one."""

    def __call__(self, x: Tensor, y: Tensor | None = None, *, seed: int = 0, first_index: int = 0) -> LogProb: ...


class Examples(Protocol):
    """Examples at rest, (N, *event): read by slices and arrays of indices, as there may be more than memory holds."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What rows are held against. Examples are in data units, features (N, D) float64.

    train, train_features: the reference split; held_out: the real data that the oracle row shows;
    extractor: the name of what made the features.
    """

    spec: DataSpec
    train: Examples
    held_out: Examples
    train_features: Tensor
    held_out_features: Tensor
    extractor: str
    _last: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)

    def distance_ratios(self, features: Tensor) -> DistanceRatios:
        """How close a shard's features (B, D) come to the training split's; found once for all who ask of a shard."""
        if not self._last or self._last[0] is not features:
            self._last[:] = features, distance_ratios(features, self.train_features)
        ratios: DistanceRatios = self._last[1]
        return ratios


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A range of one row's examples. x: (B, *event), data units; features: (B, D) float64.

    first_index: position of the first in its row, whatever the shards; seed: for metrics that draw.
    log_prob: gives the row's log-probabilities of held-out examples; for metrics that need "likelihood",
    whose x are held-out data (y their labels).
    """

    x: Tensor
    features: Tensor | None = None
    y: Tensor | None = None
    first_index: int = 0
    seed: int = 0
    log_prob: LogDensity | None = None


class Metric(ABC):
    """Base of metrics.

    calibrates_on: the real data whose states `result` needs beside a row's own: "held_out", the oracle's row, and
    "train", the reference split scored as rows are; for metrics that do not need "likelihood".
    """

    calibrates_on: ClassVar[tuple[Literal["held_out", "train"], ...]] = ()

    def prepare(self, reference: Reference) -> None:  # noqa: B027 (many need nothing)
        """Called once in each process, before any row. What takes long is better had from `calibrates_on`."""

    def calibrate(self, real: Mapping[str, State]) -> None:  # noqa: B027
        """Called once in each process that asks for results, with the whole states of `calibrates_on`."""

    @abstractmethod
    def shard(self, shard: Shard) -> State:
        """The state of a range of examples."""

    @abstractmethod
    def merge(self, first: State, second: State) -> State:
        """The state of two ranges together; associative."""

    @abstractmethod
    def result(self, state: State) -> list[Estimate]:
        """The cells of a row."""


class FeatureExtractor(ABC):
    """Maps examples in data units to feature vectors."""

    def prepare(self, spec: DataSpec, train: Examples) -> None:  # noqa: B027 (many need nothing)
        """Called once with the training split, (N, *event); then copies of it go to all that compute features."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """(B, D) float64, finite."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """What the features are, as printed beside every number that rests on them."""
