"""The metric contract: rows of a table, scored shard by shard and merged.

A metric sees one row at a time: `prepare` with what rows are held against, then `shard` for each range of
examples, `merge` over shards in any order, `result` once. A shard's state is a dict of float64 or int64
tensors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.model import LogProb
from genpipe.table import Estimate as Estimate

State = dict[str, Tensor]


class LogDensity(Protocol):
    """Log-probabilities of examples in data units; `Model.log_prob` is one."""

    def __call__(self, x: Tensor, y: Tensor | None = None, *, seed: int = 0, first_index: int = 0) -> LogProb: ...


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What rows are held against. Arrays are in data units, features (N, D) float64.

    train, train_features: the reference split; held_out: the real data that the oracle row shows;
    extractor: the name of what made the features.
    """

    spec: DataSpec
    train: Tensor
    held_out: Tensor
    train_features: Tensor
    held_out_features: Tensor
    extractor: str


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
    """Base of metrics."""

    def prepare(self, reference: Reference) -> None:  # noqa: B027 (many need nothing)
        """Called once, before any row."""

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

    def prepare(self, spec: DataSpec, train: Tensor) -> None:  # noqa: B027 (many need nothing)
        """Called once with the training split, x (N, *event)."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """(B, D) float64, finite."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """What the features are, as printed beside every number that rests on them."""
