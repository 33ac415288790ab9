"""A fixed random sample of a row's features, for metrics whose cost or memory grows faster than their number."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from genpipe import ops
from genpipe.evaluation import State

POSITIONS = 2**62


@dataclass(frozen=True)
class FeatureSample:
    """At most `size` of a row's features, chosen and ordered by a keyed hash of their positions in the row.

    A state has features (n, D) float64 and order (n,) int64, ascending: the sample, and every part of it that comes
    first, is the same in whatever shards it was gathered.
    """

    size: int

    def of(self, features: Tensor, first_index: int) -> State:
        """features: (B, D), of the row's examples first_index, first_index + 1, …"""
        order = ops.permutation(ops.key(0, "features"), POSITIONS, start=first_index, count=len(features))
        return self._first({"order": order, "features": features})

    def merge(self, first: State, second: State) -> State:
        return self._first({name: torch.cat([first[name], second[name]]) for name in ("order", "features")})

    def _first(self, state: State) -> State:
        kept = state["order"].argsort()[: self.size]
        return {name: tensor[kept] for name, tensor in state.items()}
