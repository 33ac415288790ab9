"""The items of work of an evaluation: features of a range, states of a range, the cells of a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from genpipe.errors import PluginError
from genpipe.evaluation import Estimate, FeatureExtractor, Shard, State
from genpipe.parallel import Range
from genpipe.pipelines.evaluate.opened import MODEL, ORACLE, TRAIN, Opened, Sources

Arrays = dict[str, npt.NDArray[Any]]


class Item(Protocol):
    def do(self, opened: Opened) -> Any: ...


@dataclass(frozen=True)
class Features:
    """Features (len(at), D) float64 of a row's examples, or of the training split's."""

    row: str
    at: Range

    def __str__(self) -> str:
        return f"the features of {self.at} of '{self.row}'"

    def do(self, opened: Opened) -> npt.NDArray[np.float64]:
        sources = opened.sources
        parts = [
            features_of(sources.extractor, sources.extractor_name, opened.examples(self.row, batch))
            for batch in self.at.cut(sources.batch_size)
        ]
        return torch.cat(parts).numpy()


@dataclass(frozen=True)
class Densities:
    """The state of a range of held-out examples in each metric that needs a row's likelihood, by name."""

    row: str
    at: Range

    def __str__(self) -> str:
        return f"the likelihood of {self.at} by '{self.row}'"

    def do(self, opened: Opened) -> dict[str, Arrays]:
        x, y = opened.held_out(self.at)
        log_prob, seed = opened.rows[self.row].log_prob, opened.sources.seed
        shard = Shard(x=x, y=y, first_index=self.at.start, seed=seed, log_prob=log_prob)
        return {
            name: arrays(named.metric.shard(shard))
            for name, named in opened.metrics.items()
            if named.record.needs == "likelihood"
        }


@dataclass(frozen=True)
class Examples:
    """The state of a range of a row in each metric that needs examples, by name; of the training split in those that
    calibrate on it. With the model's and the oracle's, distance ratios to the training split, under the name NEAREST.
    """

    row: str
    at: Range

    def __str__(self) -> str:
        return f"the scores of {self.at} of '{self.row}'"

    def do(self, opened: Opened) -> dict[str, Arrays]:
        shard = Shard(
            x=opened.examples(self.row, self.at),
            features=opened.features(self.row)[self.at.slice].clone(),
            first_index=self.at.start,
            seed=opened.sources.seed,
        )
        states = {
            name: arrays(named.metric.shard(shard))
            for name, named in opened.metrics.items()
            if named.record.needs != "likelihood" and (self.row != TRAIN or TRAIN in named.metric.calibrates_on)
        }
        if self.row in (MODEL, ORACLE):
            assert shard.features is not None
            found = opened.reference.distance_ratios(shard.features)
            states[NEAREST] = arrays({"index": found.index, "distance": found.distance, "ratio": found.ratio})
        return states


NEAREST = "/nearest"  # beside metrics' names, none of which has a stroke


@dataclass(frozen=True)
class Cells:
    """A row's cells in one metric, from the state of the whole row and those of the real data it calibrates on."""

    row: str
    metric: str
    state: Arrays
    real: Mapping[str, Arrays]

    def __str__(self) -> str:
        return f"the metric '{self.metric}' of '{self.row}'"

    def do(self, opened: Opened) -> list[Estimate]:
        metric = opened.calibrated(self.metric, {name: tensors(state) for name, state in self.real.items()})
        return metric.result(tensors(self.state))


def open_evaluation(sources: Sources) -> Callable[[Item], Any]:
    """The task of workers that share an evaluation."""
    opened = sources.open()
    return lambda item: item.do(opened)


EVALUATION = f"{__name__}:open_evaluation"


def features_of(extractor: FeatureExtractor, name: str, x: Tensor) -> Tensor:
    """Features (B, D) float64 of x (B, *event), checked to be what the contract says."""
    features = extractor(x)
    if features.ndim != 2 or len(features) != len(x) or features.dtype != torch.float64:
        raise PluginError(
            f"feature extractor '{name}' gave {features.dtype} of shape {tuple(features.shape)}, "
            f"expected float64 of shape ({len(x)}, D)"
        )
    if not bool(features.isfinite().all()):
        raise PluginError(f"feature extractor '{name}' gave features that are not finite")
    return features


def arrays(state: State) -> Arrays:
    """A state as it crosses between processes."""
    return {name: tensor.numpy() for name, tensor in state.items()}


def tensors(state: Mapping[str, npt.NDArray[Any]]) -> State:
    """A state that came, copied: what comes may not be written to."""
    return {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
