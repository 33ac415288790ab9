"""Copies found by distances to the training split, calibrated on held-out data."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from genpipe.errors import GenpipeError
from genpipe.evaluation import Estimate, Metric, Reference, Shard, State
from genpipe.plugins.novelty.cells import cell_of, centres, data_copying
from genpipe.plugins.novelty.config import NoveltyConfig

COPIES = "copies [%]"
AUTHENTICITY = "authenticity [%]"
C_T = "C_T [z]"
RATIO = "median distance ratio"
CLEAR = 3.0  # |C_T| that says something of itself
BLOCK = 4096


class Novelty(Metric):
    """Whether samples are closer to the training split than held-out data is, asked in three ways.

    Copies: a sample's ratio is its distance to the nearest training example over that example's distance to its
    own nearest neighbour; below held-out's 1 % quantile it counts as close. With a share c of copies and
    a held-out share q of close examples, s = c + (1 − c) q of the samples are close, so c = (s − q) / (1
    − q). A model of new examples gets 0; noise, far from everything, gets −q / (1 − q).

    Authenticity (Alaa et al., 2022, sec. 4.3) is the share of ratios above 1. Held-out data does not get 100 %
    but a half to two thirds, by the dimension; that stands in the oracle row and in the note, and only less speaks of
    copies.

    C_T (Meehan et al., 2020) compares the distances themselves within cells of the training data: far below 0, samples
    lie closer to training examples than held-out data does; far above 0, farther (the model underfits); within ±1 or
    so of 0 they cannot be told apart.
    """

    calibrates_on = ("held_out",)

    def __init__(self, config: NoveltyConfig) -> None:
        self._quantile, self._num_cells, self._min_in_cell = config.quantile, config.num_cells, config.min_in_cell

    def prepare(self, reference: Reference) -> None:
        self._reference, features = reference, reference.train_features
        if not any(bool((block != features[0]).any()) for block in features.split(BLOCK)):
            raise GenpipeError("novelty needs training examples that differ")
        self._centres = centres(features, self._num_cells)

    def shard(self, shard: Shard) -> State:
        assert shard.features is not None
        index = torch.arange(shard.first_index, shard.first_index + len(shard.features))
        found = self._reference.distance_ratios(shard.features)
        cell = cell_of(shard.features, self._centres)
        return {"index": index, "ratio": found.ratio, "distance": found.distance, "cell": cell}

    def calibrate(self, real: Mapping[str, State]) -> None:
        self._held_out = real["held_out"]
        held_out = self._held_out["ratio"]
        self._num_held_out = len(held_out)
        self._threshold = torch.quantile(held_out, self._quantile, interpolation="lower")
        # Counted, not assumed: with few or tied examples it is not quite the quantile.
        self._expected = float((held_out <= self._threshold).to(torch.float64).mean())
        self._baseline = float((held_out > 1).to(torch.float64).mean())

    def merge(self, first: State, second: State) -> State:
        return {name: torch.cat([first[name], second[name]]) for name in first}

    def result(self, state: State) -> list[Estimate]:
        ratios = state["ratio"].sort().values
        num = len(ratios)
        close = float((ratios <= self._threshold).to(torch.float64).mean())
        scale = 100 / (1 - self._expected) if self._expected < 1 else math.nan
        # Of the share of samples and of the quantile, both counted.
        error = math.sqrt(_variance_of_share(close, num) + _variance_of_share(self._expected, self._num_held_out))
        notes: tuple[str, ...] = ()
        if close < self._expected:
            notes = ("below 0: fewer samples than held-out examples come this close to the training split",)
        if self._expected > 0.5:
            notes = ("most held-out examples are copies themselves, so copies cannot be told from new ones",)
        copies = Estimate(
            name=COPIES,
            value=(close - self._expected) * scale,
            standard_error=error * scale,
            better="lower",
            num=num,
            notes=notes,
        )
        median = Estimate(name=RATIO, value=float(ratios.median()), standard_error=_error_of_median(ratios), num=num)
        return [copies, self._authenticity(ratios), *self._data_copying(state), median]

    def _authenticity(self, ratios: Tensor) -> Estimate:
        share, num = float((ratios > 1).to(torch.float64).mean()), len(ratios)
        return Estimate(
            name=AUTHENTICITY,
            value=100 * share,
            standard_error=100 * math.sqrt(_variance_of_share(share, num)),
            num=num,
            notes=(f"held-out data gets {100 * self._baseline:.1f} %",),
        )

    def _data_copying(self, state: State) -> list[Estimate]:
        found = data_copying(
            state["distance"],
            state["cell"],
            self._held_out["distance"],
            self._held_out["cell"],
            num_cells=len(self._centres),
            min_in_cell=self._min_in_cell,
        )
        if found is None:
            return []
        notes: tuple[str, ...] = ()
        if abs(found.value) > CLEAR:
            how = (
                "closer to training examples than held-out data: copying"
                if found.value < 0
                else ("farther from training examples than held-out data: underfitting")
            )
            notes = (how,)
        if found.num_used < found.num_cells:
            notes = (
                *notes,
                f"from {found.num_used} of {found.num_cells} cells; others have fewer than {self._min_in_cell} "
                "samples or held-out examples",
            )
        return [
            Estimate(
                name=C_T,
                value=found.value,
                standard_error=found.standard_error,
                num=len(state["distance"]),
                notes=notes,
            )
        ]


def _variance_of_share(share: float, num: int) -> float:
    """Binomial, with Jeffreys' estimate of the share: where none was seen the variance is small, not
    nothing."""
    likely = (share * num + 0.5) / (num + 1)
    return likely * (1 - likely) / num


def _error_of_median(ordered: Tensor) -> float | None:
    """Half the distance of the order statistics one binomial deviation, √N/2, either side (Woodruff,
    1952)."""
    num = len(ordered)
    if num < 4:
        return None
    spread = math.sqrt(num) / 2
    low, high = max(math.floor(num / 2 - spread), 0), min(math.ceil(num / 2 + spread) - 1, num - 1)
    return float(ordered[high] - ordered[low]) / 2


def build(config: NoveltyConfig) -> Novelty:
    return Novelty(config)
