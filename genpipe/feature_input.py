"""What a feature extractor's network is fed: examples, checked to be a data set's, in channels near [-1, 1]."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.evaluation import Examples
from genpipe.units import Units

MOST_ONE_HOT = 256  # levels of a sequence; where there are more they are read as a quantity


class FeatureInput:
    """The map x → z of one data set. x: (B, *event), data units; z: float32.

    | event | z |
    | --- | --- |
    | image | (B, C, H, W), in [-1, 1], integers by the middle of their bin |
    | vector | (B, D), of unit variance or in [-1, 1] |
    | sequence of at most 256 levels | (B, levels, L), one-hot: the levels may be letters |
    | other sequence | (B, 1, L), as a vector |

    shape: of one z.
    """

    def __init__(self, spec: DataSpec) -> None:
        self.spec, self._units = spec, Units(spec)
        self.one_hot = spec.event == "sequence" and spec.levels is not None and spec.levels <= MOST_ONE_HOT
        self.shape: tuple[int, ...] = spec.shape
        if spec.event == "sequence":
            self.shape = (spec.levels or 1) if self.one_hot else 1, *spec.shape

    def __call__(self, x: Tensor) -> Tensor:
        """z of x; DataError where x has another shape, is not finite or leaves the data set's range."""
        check_range(self._units.check(x), self.spec)
        if self.one_hot:
            assert self.spec.levels is not None
            return F.one_hot(x.to(torch.int64), self.spec.levels).movedim(-1, 1).to(torch.float32)
        return self._units.to_network(x, None).reshape(-1, *self.shape)


def check_range(x: Tensor, spec: DataSpec) -> None:
    """DataError where real values are outside what the data set declares, by more than float32's rounding."""
    if spec.low is None or spec.high is None or x.numel() == 0:
        return
    low, high = float(x.min()), float(x.max())
    slack = 1e-6 * max(abs(spec.low), abs(spec.high))
    if low < spec.low - slack or high > spec.high + slack:
        raise DataError(
            f"x has values in [{low:g}, {high:g}], expected [{spec.low:g}, {spec.high:g}]: the range of data set "
            f"'{spec.name}'"
        )


def read(examples: Examples, which: Any) -> Tensor:
    """Some examples, by a slice or an array of indices, as a tensor of their own type; a copy."""
    return torch.from_numpy(np.array(np.asarray(examples[which])))
