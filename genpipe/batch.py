"""What the training loop hands to a model's step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from genpipe.noise import Noise


@dataclass(frozen=True)
class Batch:
    """A training batch. z: (B, *event) in network units; y: (B,) int64 or None; noise: this batch's numbers."""

    z: Tensor
    y: Tensor | None
    noise: Noise


class Optimizers(Protocol):
    """What the training loop hands to `train_step`: it owns precision, clipping, accumulation and schedules."""

    def minimize(self, loss: Tensor, group: str = "model") -> None:
        """Backward and one optimiser step for the parameters of `group`. loss: a mean over the batch's examples."""

    def sum(self, name: str, value: Tensor) -> None:
        """Adds to `totals[name]` of `Model.after_step`: the sum over all micro-batches and workers of the batch."""

    def rows(self, name: str, value: Tensor) -> None:
        """(B, …), a row for each example here, into `totals[name]`: those of the whole batch, in its order."""


Progress = Callable[..., None]
"""`progress(at, total, **numbers)`: called as work goes on; cheap to call often."""
