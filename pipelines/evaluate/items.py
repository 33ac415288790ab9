"""The items of work of an evaluation: features of a range, states of a range, the cells of a row."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from genpipe.errors import GenpipeError, PluginError, first_line
from genpipe.evaluation import Estimate, Shard, State
from genpipe.parallel import Range
from genpipe.pipelines.evaluate.opened import ORACLE, TRAIN, NamedMetric, Opened, Sources
from genpipe.pipelines.features.compute import What, in_batches

Arrays = dict[str, npt.NDArray[Any]]


class Item(Protocol):
    def do(self, opened: Opened) -> Any: ...


@dataclass(frozen=True)
class Features:
    """What an extractor gives of a range of a row that is not real data, (len(at), …) float64."""

    row: str
    extractor: str
    what: What
    at: Range

    def __str__(self) -> str:
        return f"the {self.what} '{self.extractor}' of {self.at} of '{self.row}'"

    def do(self, opened: Opened) -> npt.NDArray[np.float64]:
        kept = opened.kept[self.extractor]
        extractor, batch_size = opened.extractor(self.extractor), opened.sources.batch_size
        with errors_named(f"row '{self.row}'"):
            return in_batches(
                self.what, extractor, kept.name, lambda at: opened.examples(self.row, at), self.at, batch_size
            ).numpy()


@dataclass(frozen=True)
class Densities:
    """The state of a range of a row in each metric that asks its model for densities, by label."""

    row: str
    at: Range

    def __str__(self) -> str:
        return f"the likelihood of {self.at} by '{self.row}'"

    def do(self, opened: Opened) -> dict[str, Arrays]:
        x = opened.held_out(self.at)
        row, seed = opened.rows[self.row], opened.sources.seed
        asked = Shard(x=x, first_index=self.at.start, seed=seed, log_prob=row.log_prob, estimators=row.estimators)
        compared = Shard(
            x=opened.examples(self.row, self.at),
            held_out=x,
            y=opened.labels(self.row, self.at),
            first_index=self.at.start,
            seed=seed,
            log_prob=row.log_prob,
            score=row.score,
        )
        return {
            label: arrays(_state(label, named, self.row, asked if named.record.needs == "likelihood" else compared))
            for label, named in opened.metrics.items()
            if has_densities(opened, label, self.row)
        }


def has_densities(opened: Opened, label: str, row: str) -> bool:
    """Whether a metric asks for densities that this row, or this data, has."""
    needs = opened.built[label].record.needs
    if needs == "likelihood":
        return opened.rows[row].log_prob is not None
    return needs == "densities" and opened.truth is not None


@dataclass(frozen=True)
class Examples:
    """The state of a range of a row in each metric that needs examples, by label; of the training split in those that
    calibrate on it. With the subject's and the oracle's, distance ratios to the training split, under the name NEAREST.
    """

    row: str
    at: Range

    def __str__(self) -> str:
        return f"the scores of {self.at} of '{self.row}'"

    def do(self, opened: Opened) -> dict[str, Arrays]:
        x, y = opened.examples(self.row, self.at), opened.labels(self.row, self.at)
        shards: dict[tuple[str, bool], Shard] = {}  # one for all metrics of an extractor, which share what they find

        def shard(extractor: str, with_logits: bool) -> Shard:
            if (extractor, with_logits) not in shards:
                shards[extractor, with_logits] = Shard(
                    x=x,
                    y=y,
                    features=opened.values(self.row, extractor, "features", self.at),
                    logits=opened.values(self.row, extractor, "logits", self.at) if with_logits else None,
                    first_index=self.at.start,
                    seed=opened.sources.seed,
                )
            return shards[extractor, with_logits]

        states = {
            label: arrays(_state(label, named, self.row, shard(named.extractor, named.record.needs == "logits")))
            for label, named in opened.metrics.items()
            if named.record.needs not in DENSITIES and (self.row != TRAIN or TRAIN in named.metric.calibrates_on)
        }
        if self.row in (opened.subject, ORACLE):
            default = opened.sources.extractor
            features = shard(default, False).features
            assert features is not None
            found = opened.reference(default).distance_ratios(features)
            states[NEAREST] = arrays({"index": found.index, "distance": found.distance, "ratio": found.ratio})
        return states


DENSITIES = ("likelihood", "densities")  # needs of metrics that ask for them
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
        real = {name: tensors(state) for name, state in self.real.items()}
        with errors_named(f"metric '{self.metric}' of row '{self.row}'"):
            return opened.calibrated(self.metric, real).result(tensors(self.state))


def open_evaluation(sources: Sources) -> Callable[[Item], Any]:
    """The task of workers that share an evaluation."""
    opened = sources.open()
    return lambda item: item.do(opened)


EVALUATION = f"{__name__}:open_evaluation"


def _state(label: str, named: NamedMetric, row: str, shard: Shard) -> State:
    with errors_named(f"metric '{label}' of row '{row}'"):
        return named.metric.shard(shard)


@contextlib.contextmanager
def errors_named(where: str) -> Iterator[None]:
    """Errors say where they happened; those that no one foresaw are the plugin's."""
    try:
        yield
    except GenpipeError as error:
        plain = type(error).__init__ is GenpipeError.__init__  # else it is made of more than a text
        raise (type(error) if plain else GenpipeError)(f"{where}: {error}") from error
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        traceback.print_exc()  # into the step's log, for whoever wrote the plugin
        raise PluginError(f"{where} failed: {type(error).__name__}: {first_line(error)}") from error


def arrays(state: State) -> Arrays:
    """A state as it crosses between processes."""
    return {name: tensor.numpy() for name, tensor in state.items()}


def tensors(state: Mapping[str, npt.NDArray[Any]]) -> State:
    """A state that came, copied: what comes may not be written to."""
    return {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
