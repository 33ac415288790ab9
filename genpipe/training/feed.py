"""Training batches: a step's examples, units and random numbers, all functions of the step alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from genpipe.data import Array, Order, ShardedArray, Split
from genpipe.model import Batch
from genpipe.noise import Noise
from genpipe.training.read_ahead import ReadAhead, Request
from genpipe.units import Units

RESIDENT_BYTES = 2 << 30
"""Data in memory up to this size is copied to an accelerator once; larger data goes there batch by batch."""

Examples = tuple[Tensor, Tensor | None]


class Feed:
    """Batches of a split. The noise of a batch is `Noise(seed, "train", first position in the stream)`.

    labels: whether batches carry y, where the split has it.
    """

    def __init__(self, split: Split, units: Units, *, seed: int, device: torch.device, labels: bool = True) -> None:
        self.split, self.units, self.seed, self.device = split, units, seed, device
        self.order = Order(len(split), seed)
        self._x = _rows(split.x)
        self._y = _rows(split.y) if labels and split.y is not None else None
        self._ahead: ReadAhead[Examples] | None = None
        resident = device.type != "cpu" and not self.streams and self._x.nbytes <= RESIDENT_BYTES
        self._resident = torch.from_numpy(np.array(self._x)).to(device) if resident else None

    @property
    def streams(self) -> bool:
        """Whether examples are read from their shards batch by batch, since all of them are too many for memory."""
        return isinstance(self._x, ShardedArray)

    def batch(self, position: int, count: int) -> Batch:
        """The examples at stream positions `position … position + count − 1`."""
        request = (position, count)
        x, y = self._prepare(request)() if self._ahead is None else self._ahead.take(request)
        noise = Noise(self.seed, "train", position)
        return Batch(self.units.to_network(self._on_device(x), noise), y if y is None else self._on_device(y), noise)

    @contextmanager
    def reading_ahead(self, schedule: Iterable[Request]) -> Iterator[None]:
        """Reads the batches of `schedule`, (position, count) each, before they are asked for.

        Nothing is done where the examples are in memory. An error in reading is raised by the batch that it concerns.
        """
        if not self.streams:
            yield
            return
        self._ahead = ReadAhead(self._prepare, iter(schedule))
        try:
            yield
        finally:
            self._ahead.close()
            self._ahead = None

    def one_pass(self, batch_size: int) -> Iterator[Batch]:
        """Every example once, in the split's order and with the same noise in every pass: for closed forms."""
        for first in range(0, len(self.split), batch_size):
            yield self.stretch(first, batch_size, "train")

    def stretch(self, first: int, count: int, stream: str) -> Batch:
        """`count` examples, or what is left, of the split's own order, with the numbers of their places in `stream`."""
        here = slice(first, first + count)
        x = torch.from_numpy(np.array(self._x[here])) if self._resident is None else self._resident[here]
        y = None if self._y is None else torch.from_numpy(np.array(self._y[here])).to(self.device)
        noise = Noise(self.seed, stream, first)
        return Batch(self.units.to_network(self._on_device(x), noise), y, noise)

    def _prepare(self, request: Request) -> Callable[[], Examples]:
        """What reads a request, in any thread; which examples those are is decided here and now."""
        indices = self.order.indices(*request)
        return lambda: self._read(indices)

    def _read(self, indices: Array) -> Examples:
        y = None if self._y is None else torch.from_numpy(self._y[indices])
        if self._resident is not None:
            return self._resident[torch.from_numpy(indices).to(self.device)], y
        x = torch.from_numpy(self._x[indices])
        return (x.pin_memory() if self.streams and self.device.type == "cuda" else x), y

    def _on_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=True)


def _rows(values: Array | ShardedArray) -> Array | ShardedArray:
    """The values themselves where they are to be streamed, else as a plain array: a memory map indexes slowly."""
    return values if isinstance(values, ShardedArray) and not values.is_loaded else np.asarray(values)
