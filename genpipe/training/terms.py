"""Loss terms since the last logged entry: gathered without waiting, then made means over the global batch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from genpipe.errors import PluginError
from genpipe.training.group import Group

Terms = Mapping[str, Tensor]


class Window:
    """The terms of consecutive steps.

    settled: of each of the first steps, means over the global batch; later ones are still tensors, means over this
    worker's share, which is the fraction `share` of the batch.
    """

    def __init__(self, group: Group, share: float, family: str) -> None:
        self.group, self.share, self.family = group, share, family
        self.settled: list[dict[str, float]] = []
        self._waiting: list[Terms] = []

    def __len__(self) -> int:
        return len(self.settled) + len(self._waiting)

    def add(self, terms: Terms) -> None:
        self._waiting.append(terms)

    def settle(self) -> None:
        """All terms become numbers, the same on every worker. The one place that waits for an accelerator."""
        if not self._waiting:
            return
        names = [tuple(terms) for terms in self._waiting]
        values = torch.stack([term.double() for terms in self._waiting for term in terms.values()])
        if self.group.size > 1:
            self._check_names(names)
            values *= self.share
            self.group.sum([values])
        numbers = iter(values.tolist())
        self.settled += [{name: next(numbers) for name in of_step} for of_step in names]
        self._waiting = []

    def _check_names(self, names: list[tuple[str, ...]]) -> None:
        mark = int.from_bytes(hashlib.blake2b(repr(names).encode(), digest_size=7).digest(), "big")
        high, low = self.group.largest([mark, -mark])
        if high != -low:
            given = ", ".join(dict.fromkeys(name for of_step in names for name in of_step))
            raise PluginError(
                f"family '{self.family}' gives other loss terms on other workers (here {given}); which terms there are "
                "may depend on the step, not on the examples"
            )

    def first_not_finite(self) -> int | None:
        """Where in the window the loss is not finite for the first time; of settled steps."""
        return next((i for i, terms in enumerate(self.settled) if not math.isfinite(terms["loss"])), None)

    def means(self) -> dict[str, float]:
        """Of each of the last step's terms the mean over the steps that have it; of settled steps."""
        columns = {name: [terms[name] for terms in self.settled if name in terms] for name in self.settled[-1]}
        return {name: sum(values) / len(values) for name, values in columns.items()}

    def clear(self) -> None:
        self.settled, self._waiting = [], []


def check_terms(terms: Any, family: str) -> None:
    """PluginError where what a family's `train_step` gave is no mapping of scalar tensors with 'loss'."""
    if not isinstance(terms, Mapping) or not isinstance(terms.get("loss"), Tensor):
        keys = f"a mapping with {sorted(terms)}" if isinstance(terms, Mapping) else f"a {type(terms).__name__}"
        raise PluginError(
            f"family '{family}': train_step gave {keys}, expected a mapping of scalar tensors with 'loss'"
        )
    for name, term in terms.items():
        if not isinstance(term, Tensor) or term.ndim != 0:
            given = f"shape {tuple(term.shape)}" if isinstance(term, Tensor) else f"type {type(term).__name__}"
            raise PluginError(f"family '{family}': the loss term '{name}' has {given}, expected a scalar tensor")
