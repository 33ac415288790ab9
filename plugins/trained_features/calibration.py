"""How far a classifier's confidence is from how often it is right."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

NUM_BINS = 15


class Reliability(NamedTuple):
    """Of NUM_BINS bins of equal width in confidence, the probability of the class that is most likely, (NUM_BINS,).

    num: examples in each, int64; confidence, accuracy: their means, float64, 0 in empty bins.
    """

    num: Tensor
    confidence: Tensor
    accuracy: Tensor

    @property
    def error(self) -> float:
        """The expected calibration error, Σ num/N |accuracy − confidence| (Guo et al., 2017, eq. 3)."""
        return float((self.num * (self.accuracy - self.confidence).abs()).sum() / self.num.sum())


def reliability(logits: Tensor, y: Tensor) -> Reliability:
    """Of logits (N, K) and the true classes y (N,)."""
    confidence, guess = logits.to(torch.float64).softmax(dim=1).max(dim=1)
    bins = (confidence * NUM_BINS).ceil().long().clamp(1, NUM_BINS) - 1  # ((b − 1) / NUM_BINS, b / NUM_BINS]
    num = torch.bincount(bins, minlength=NUM_BINS)
    sums = [torch.bincount(bins, weights=of.to(torch.float64), minlength=NUM_BINS) for of in (confidence, guess == y)]
    return Reliability(num, *(total / num.clamp(min=1) for total in sums))
