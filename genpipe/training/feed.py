"""Training batches: a step's examples, units and random numbers, all functions of the step alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from genpipe.data import Order, Split, in_order
from genpipe.model import Batch
from genpipe.noise import Noise
from genpipe.units import Units

RESIDENT_BYTES = 2 << 30
"""Data up to this size is copied to an accelerator once; larger data goes there batch by batch."""


class Feed:
    """Batches of a split. The noise of a batch is `Noise(seed, "train", first position in the stream)`.

    labels: whether batches carry y, where the split has it.
    """

    def __init__(self, split: Split, units: Units, *, seed: int, device: torch.device, labels: bool = True) -> None:
        self.split, self.units, self.seed, self.device = split, units, seed, device
        self.order = Order(len(split), seed)
        self._x = np.asarray(split.x)  # not the memmap subclass, whose indexing is slow
        self._y = np.asarray(split.y) if labels and split.y is not None else None
        resident = device.type != "cpu" and self._x.nbytes <= RESIDENT_BYTES
        self._resident = torch.from_numpy(np.array(self._x)).to(device) if resident else None

    def batch(self, position: int, count: int) -> Batch:
        """The examples at stream positions `position … position + count − 1`."""
        indices = self.order.indices(position, count)
        if self._resident is not None:
            x = self._resident[torch.from_numpy(indices).to(self.device)]
        else:
            x = torch.from_numpy(self._x[indices]).to(self.device)
        y = None if self._y is None else torch.from_numpy(self._y[indices]).to(self.device)
        noise = Noise(self.seed, "train", position)
        return Batch(self.units.to_network(x, noise), y, noise)

    def one_pass(self, batch_size: int) -> Iterator[Batch]:
        """Every example once, in the split's order and with the same noise in every pass: for closed forms."""
        for first, x, y in in_order(self.split, batch_size):
            noise = Noise(self.seed, "train", first)
            z = self.units.to_network(torch.from_numpy(x).to(self.device), noise)
            yield Batch(z, None if self._y is None else torch.from_numpy(y).to(self.device), noise)
