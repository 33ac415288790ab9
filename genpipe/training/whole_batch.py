"""Numbers that a family gathers over a whole batch, whatever micro-batches and workers it is cut into."""

from __future__ import annotations

import torch
from torch import Tensor

from genpipe.errors import PluginError
from genpipe.training.group import Group


class WholeBatch:
    """`sum` and `rows` of genpipe.model.Optimizers, and their totals."""

    def __init__(self, group: Group, batch_size: int, family: str) -> None:
        self.group, self.batch_size, self.family = group, batch_size, family
        self._sums: dict[str, Tensor] = {}
        self._rows: dict[str, list[tuple[int, Tensor]]] = {}
        self._first, self._count = 0, batch_size

    def begin(self, first: int, count: int) -> None:
        """What comes next is of `count` examples from `first` on, within the batch."""
        self._first, self._count = first, count

    def sum(self, name: str, value: Tensor) -> None:
        value = value.detach()
        self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()

    def rows(self, name: str, value: Tensor) -> None:
        if value.ndim == 0 or len(value) != self._count:
            raise PluginError(
                f"family '{self.family}': the rows '{name}' have shape {tuple(value.shape)}, expected "
                f"({self._count}, …): one for each example"
            )
        self._rows.setdefault(name, []).append((self._first, value.detach()))

    def totals(self) -> dict[str, Tensor]:
        """Everything since the last call, over all micro-batches and workers."""
        if not self._sums and not self._rows:
            return {}
        totals = {**self._sums, **{name: self._placed(parts) for name, parts in self._rows.items()}}
        self._sums, self._rows = {}, {}
        self.group.sum(list(totals.values()))
        return totals

    def _placed(self, parts: list[tuple[int, Tensor]]) -> Tensor:
        """Rows where they belong in the batch, zeros where other workers' come: the sum over workers has them all."""
        if self.group.size == 1:
            return torch.cat([value for _, value in parts])
        like = parts[0][1]
        whole = torch.zeros((self.batch_size, *like.shape[1:]), dtype=like.dtype, device=like.device)
        for first, value in parts:
            whole[first : first + len(value)] = value
        return whole
