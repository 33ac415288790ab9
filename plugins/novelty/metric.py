"""Copies found by distance ratios, calibrated on held-out data."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from genpipe.errors import GenpipeError
from genpipe.evaluation import Estimate, Metric, Reference, Shard, State
from genpipe.plugins.novelty.config import NoveltyConfig

COPIES = "copies [%]"
RATIO = "median distance ratio"
BLOCK = 4096


class Novelty(Metric):
    """The share of samples closer to the training split than held-out data ever is.

    A sample's ratio is its distance to the nearest training example over that example's distance to its
    own nearest neighbour; below held-out's 1 % quantile it counts as close. With a share c of copies and
    a held-out share q of close examples, s = c + (1 − c) q of the samples are close, so c = (s − q) / (1
    − q). A model of new examples gets 0; noise, far from everything, gets −q / (1 − q).
    """

    calibrates_on = ("held_out",)

    def __init__(self, config: NoveltyConfig) -> None:
        self._quantile = config.quantile

    def prepare(self, reference: Reference) -> None:
        self._reference, features = reference, reference.train_features
        if not any(bool((block != features[0]).any()) for block in features.split(BLOCK)):
            raise GenpipeError("novelty needs training examples that differ")

    def shard(self, shard: Shard) -> State:
        assert shard.features is not None
        index = torch.arange(shard.first_index, shard.first_index + len(shard.features))
        return {"index": index, "ratio": self._reference.distance_ratios(shard.features).ratio}

    def calibrate(self, real: Mapping[str, State]) -> None:
        held_out = real["held_out"]["ratio"]
        self._num_held_out = len(held_out)
        self._threshold = torch.quantile(held_out, self._quantile, interpolation="lower")
        # Counted, not assumed: with few or tied examples it is not quite the quantile.
        self._expected = float((held_out <= self._threshold).to(torch.float64).mean())

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
        return [copies, median]


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
