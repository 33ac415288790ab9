"""The order in which training sees the examples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class Order:
    """The order of training examples: an endless stream cut into epochs, each a permutation keyed by (seed, epoch).

    Position p of the stream is example `order[p % n]` of epoch p // n. So a batch is named by its first position
    alone: exact to resume, and the same for any number of workers.
    """

    def __init__(self, num_examples: int, seed: int) -> None:
        self.num_examples, self.seed = num_examples, seed
        self._epoch, self._permutation = -1, np.empty(0, dtype=np.int64)

    def _of_epoch(self, epoch: int) -> npt.NDArray[np.int64]:
        if epoch != self._epoch:
            bits = np.random.Philox(key=[self.seed, epoch])  # a function of (seed, epoch), like genpipe.noise
            self._permutation = np.random.Generator(bits).permutation(self.num_examples)
            self._epoch = epoch
        return self._permutation

    def indices(self, position: int, count: int) -> npt.NDArray[np.int64]:
        """The examples at stream positions `position … position + count − 1`, across epoch ends."""
        parts = []
        while count > 0:
            epoch, offset = divmod(position, self.num_examples)
            part = self._of_epoch(epoch)[offset : offset + count]
            parts.append(part)
            position, count = position + len(part), count - len(part)
        return np.concatenate(parts) if len(parts) != 1 else parts[0]
