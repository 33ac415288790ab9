"""The order in which training sees the examples: a true shuffle of all of them in every epoch, in constant memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

CHUNK = 4096  # positions that are permuted together: a call costs as much as hundreds of positions do


class Order:
    """An endless stream of examples cut into epochs, each a permutation keyed by (seed, epoch).

    Position p of the stream is example `permutation[p % n]` of epoch p // n. So a batch is named by its first position
    alone: exact to resume, and the same for any number of workers. No permutation is ever held: an image under it is
    computed where it is asked for (genpipe.ops.permutation).
    """

    def __init__(self, num_examples: int, seed: int) -> None:
        self.num_examples, self.seed = num_examples, seed
        self._recent: dict[tuple[int, int], npt.NDArray[np.int64]] = {}

    def indices(self, position: int, count: int) -> npt.NDArray[np.int64]:
        """The examples at stream positions `position … position + count − 1`, across epoch ends."""
        parts = []
        while count > 0:
            epoch, offset = divmod(position, self.num_examples)
            chunk, start = divmod(offset, CHUNK)
            part = self._chunk(epoch, chunk)[start : start + count]
            parts.append(part)
            position, count = position + len(part), count - len(part)
        if not parts:
            return np.empty(0, dtype=np.int64)
        return np.concatenate(parts) if len(parts) != 1 else parts[0]

    def _chunk(self, epoch: int, chunk: int) -> npt.NDArray[np.int64]:
        """Images of the positions chunk · CHUNK … of an epoch; two are kept, since a batch may lie across an end."""
        known = self._recent.get((epoch, chunk))
        if known is None:
            from genpipe import ops  # with torch, which listing and planning do without

            first = chunk * CHUNK
            count = min(CHUNK, self.num_examples - first)
            key = ops.key(self.seed, f"order/{epoch}")
            known = ops.permutation(key, self.num_examples, start=first, count=count).numpy()
            self._recent = dict([*list(self._recent.items())[-1:], ((epoch, chunk), known)])
        return known
