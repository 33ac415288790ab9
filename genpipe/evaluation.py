"""The metric contract: rows of a table, scored shard by shard and merged.

A metric is prepared with what rows are held against. Then `shard` gives the state of each range of a row's examples,
`merge` that of ranges together, and `result` a row's cells. Several processes share the shards, each with a metric of
its own. A state is a dict of float64 or int64 tensors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.model import Estimator, LogProb
from genpipe.neighbours import DistanceRatios, distance_ratios
from genpipe.table import Estimate as Estimate

State = dict[str, Tensor]

# The network of Szegedy et al. (2016) as Salimans et al. (2016) and Heusel et al. (2017) took it, which resizes as they
# did: the TorchScript file inception-2015-12-05.pt. The only one whose distances may be called FID.
INCEPTION_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
INCEPTION_FINGERPRINT = f"inception@{INCEPTION_SHA256[:8]}"


class LogDensity(Protocol):
    """Log-probabilities of examples in data units; `Model.log_prob` is one."""

    def __call__(self, x: Tensor, y: Tensor | None = None, *, seed: int = 0, first_index: int = 0) -> LogProb: ...


class EstimatedDensity(Protocol):
    """`Model.log_prob` with an estimator."""

    def __call__(
        self, x: Tensor, y: Tensor | None = None, *, estimator: Estimator, seed: int = 0, first_index: int = 0
    ) -> LogProb: ...


class Examples(Protocol):
    """Examples at rest, (N, *event): read by slices and arrays of indices, as there may be more than memory holds."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any, /) -> Any: ...


class LabelledExamples(Protocol):
    """x (N, *event) in data units, and y (N,) where there are labels; genpipe.data.Split is one."""

    @property
    def x(self) -> Examples: ...

    @property
    def y(self) -> Examples | None: ...


class Modes(NamedTuple):
    """Equal round Gaussians that the data is a mixture of. centres: (K, D) float64; std: of each, in every direction."""

    centres: Tensor
    std: float


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What rows are held against. Examples are in data units, features (N, D) float64.

    train, train_features: the reference split; held_out: the real data that the oracle row shows;
    extractor, fingerprint: the name of what made the features, and what it is.
    log_density, score: the true density's logarithm, (B,) nats of x (B, *event), and its gradient, (B, *event), float64;
    modes: of the data; draw: f(num, seed), examples (num, *event) of the truth that are in no split. None where they are
    not known.
    """

    spec: DataSpec
    train: Examples
    held_out: Examples
    train_features: Tensor
    held_out_features: Tensor
    extractor: str
    fingerprint: str = ""
    log_density: Callable[[Tensor], Tensor] | None = None
    score: Callable[[Tensor], Tensor] | None = None
    modes: Modes | None = None
    draw: Callable[[int, int], Tensor] | None = None
    _last: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)

    def title(self, original: str, general: str) -> str:
        """The name of a number: `original` ("FID") where the features are the original Inception's, and nowhere else;
        otherwise general(fingerprint)."""
        of = self.fingerprint or self.extractor
        return original if of == INCEPTION_FINGERPRINT else f"{general}({of})"

    def distance_ratios(self, features: Tensor) -> DistanceRatios:
        """How close a shard's features (B, D) come to the training split's; found once for all who ask of a shard."""
        if not self._last or self._last[0] is not features:
            self._last[:] = features, distance_ratios(features, self.train_features)
        ratios: DistanceRatios = self._last[1]
        return ratios


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A range of one row's examples. x: (B, *event), data units; y: (B,) their labels, where real data has them or
    samples were asked for by label.

    features: (B, D) float64, logits: (B, K), for metrics that need them.
    first_index: position of the first in its row, whatever the shards; seed: for metrics that draw.
    log_prob: gives the row's log-probabilities. For metrics that need "likelihood", whose x are held-out data (y their
    labels where the model takes them), and for those that need "densities", whose held_out is held-out data (B, *event)
    at the same positions as x. These are also asked about rows without log_prob, where it is None, and then leave out
    the cells that rest on it.
    estimators: other ways to the row's log-probabilities, by name; score: the gradient (B, *event) of its log-density.
    """

    x: Tensor
    features: Tensor | None = None
    logits: Tensor | None = None
    held_out: Tensor | None = None
    y: Tensor | None = None
    first_index: int = 0
    seed: int = 0
    log_prob: LogDensity | None = None
    estimators: Mapping[str, EstimatedDensity] = field(default_factory=dict)
    score: Callable[[Tensor], Tensor] | None = None


class Metric(ABC):
    """Base of metrics.

    calibrates_on: the real data whose states `result` needs beside a row's own: "held_out", the oracle's row, and
    "train", the reference split scored as rows are; for metrics that need samples, features or logits.
    """

    calibrates_on: ClassVar[tuple[Literal["held_out", "train"], ...]] = ()

    def prepare(self, reference: Reference) -> None:  # noqa: B027 (many need nothing)
        """Called once in each process, before any row. What takes long is better had from `calibrates_on`.

        reference: with the features of the extractor that the metric's config names in a field
        `features: FeatureExtractorChoice | None`, and of the evaluation's where that is None or there is no such field.
        """

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
        """The cells of a row; those that cannot be had are left out."""

    def why_absent(self) -> str:
        """Why this data has no cells of this metric, whatever the row; empty where it has."""
        return ""


class FeatureExtractor(ABC):
    """Maps examples in data units to feature vectors.

    Prepared once per data set, or restored from what one that was prepared gave as its state; the two are the same,
    bitwise. device: where it computes, set before either; what it gives is on the CPU.
    history: the logged steps of its training, each a mapping with "step"; the last one says what it came to.
    """

    device: str = "cpu"
    history: Sequence[Mapping[str, float]] = ()

    @abstractmethod
    def prepare(self, spec: DataSpec, split: LabelledExamples | None, train: Examples) -> None:
        """Called once with the training split (N, *event), for statistics of the data.

        split: what those are trained on whose record says so, neither the models' training nor the held-out data;
        None for others.
        """

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """What `prepare` found, on the CPU; kept as safetensors."""

    @abstractmethod
    def restore(self, spec: DataSpec, state: Mapping[str, Tensor]) -> None:
        """Takes the place of `prepare`, in each process that computes features."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """(B, D) float64, finite, for x (B, *event). An example's features depend on no other's."""

    def logits(self, x: Tensor) -> Tensor:
        """(B, K) of K classes, finite; of those whose record says has_logits."""
        raise NotImplementedError(f"{type(self).__name__} has no logits")

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """What the features are, as printed beside every number that rests on them: `name`, or `name@hash`."""
