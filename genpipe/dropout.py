"""Dropout whose masks belong to the examples, not to the order in which they came."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from genpipe import ops
from genpipe.noise import Noise


@dataclass(frozen=True)
class Masks:
    """A training batch's masks: the n-th that its step asks for is the stream `dropout/n` of its noise."""

    noise: Noise
    numbers: Iterator[int] = field(default_factory=itertools.count)


_masks: ContextVar[Masks | None] = ContextVar("masks", default=None)


@contextmanager
def masks_of(noise: Noise) -> Iterator[None]:
    """Within, dropout's masks are those of the batch with this noise. The training loop does this for every batch."""
    token = _masks.set(Masks(noise))
    try:
        yield
    finally:
        _masks.reset(token)


class Dropout(nn.Module):
    """In training, zeroes each number with probability `rate` and divides the rest by 1 − rate (Srivastava et al., 2014).

    x: (B, …), a row for each example of the batch. The mask of an example is the same in any cut of the batch into
    micro-batches and workers, which torch.nn.Dropout's cannot be. Outside of the training loop, where no batch is
    known, it draws as torch's does.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        masks = _masks.get()
        if masks is None:
            return nn.functional.dropout(x, self.rate)
        key = masks.noise.key(f"dropout/{next(masks.numbers)}")
        kept = ops.bernoulli(key, torch.full_like(x, 1 - self.rate), first_index=masks.noise.first_index)
        return x * kept.mul_(1 / (1 - self.rate))

    def extra_repr(self) -> str:
        return f"rate={self.rate}"
