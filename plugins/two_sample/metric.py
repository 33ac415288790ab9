"""The classifier two-sample test as a metric."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from genpipe.errors import GenpipeError
from genpipe.evaluation import Estimate, Metric, Shard, State
from genpipe.feature_sample import FeatureSample
from genpipe.plugins.two_sample.classifiers import CLASSIFIERS
from genpipe.plugins.two_sample.config import TwoSampleConfig

LEAST = 4  # examples on either side: two to learn from, two to be asked about
FEW = 200  # test examples
ONE_SIDED = 1.645  # deviations that chance exceeds in 1 of 20


class TwoSample(Metric):
    """Accuracy on one held-out half of a classifier trained on the other, as many samples as training examples in each
    (Lopez-Paz & Oquab, 2017, section 3): ½ where nothing tells them apart, up to 1 − half of their overlap.

    Folds would overlap, and so would their errors; one split keeps the standard error and the p-value honest.
    """

    calibrates_on = ("train",)

    def __init__(self, config: TwoSampleConfig) -> None:
        self._classify, self._sample = CLASSIFIERS[config.classifier], FeatureSample(config.max_examples)

    def calibrate(self, real: Mapping[str, State]) -> None:
        self._real = real["train"]["features"]

    def shard(self, shard: Shard) -> State:
        assert shard.features is not None
        return self._sample.of(shard.features, shard.first_index)

    def merge(self, first: State, second: State) -> State:
        return self._sample.merge(first, second)

    def result(self, state: State) -> list[Estimate]:
        num = min(len(state["features"]), len(self._real))
        if num < LEAST:
            raise GenpipeError(
                f"two_sample needs at least {LEAST} examples on either side, got {len(state['features'])} of the row "
                f"and {len(self._real)} of the training split"
            )
        half = num // 2
        sets = (self._real[:num], state["features"][:num])
        x, asked = (torch.cat([each[part] for each in sets]) for part in (slice(half), slice(half, num)))
        y, truth = (torch.arange(2, dtype=torch.float64).repeat_interleave(count) for count in (half, num - half))
        accuracy = self._share_right(self._classify(x, y, asked), truth)
        asked_num = len(truth)
        likely = (accuracy * asked_num + 0.5) / (asked_num + 1)  # Jeffreys: with none wrong the error is small, not 0
        p_value = 0.5 * math.erfc((accuracy - 0.5) * math.sqrt(2 * asked_num))
        notes: tuple[str, ...] = ()
        if asked_num < FEW:
            least = 0.5 + ONE_SIDED * 0.5 / math.sqrt(asked_num)
            notes = (f"{asked_num} test examples: an accuracy below {least:.2f} cannot be told from chance",)
        return [
            Estimate(
                name="two-sample accuracy",
                value=accuracy,
                standard_error=math.sqrt(likely * (1 - likely) / asked_num),
                better="lower",
                num=num,
                notes=notes,
            ),
            Estimate(name="two-sample p-value", value=p_value, better="higher", num=num, notes=notes),
        ]

    @staticmethod
    def _share_right(scores: Tensor, truth: Tensor) -> float:
        """Where nothing speaks for either, half of the answers are right."""
        right = torch.where(scores == 0, 0.5, ((scores > 0) == (truth > 0)).to(torch.float64))
        return float(right.mean())


def build(config: TwoSampleConfig) -> TwoSample:
    return TwoSample(config)
