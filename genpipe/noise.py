"""Random numbers as functions of (seed, stream, global example index, position): no state, no order of calls."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from genpipe import ops


@dataclass(frozen=True)
class Noise:
    """The random numbers that belong to examples `first_index`, `first_index + 1`, …

    Each use names its own stream (`noise.normal("prior", …)`), so two uses never share numbers, and example i
    gets the same numbers whatever batch or worker it is in.
    """

    seed: int
    stream: str
    first_index: int = 0

    def key(self, name: str) -> Tensor:
        """The (seed, stream) key that fused operations take, int64[2]."""
        return ops.key(self.seed, f"{self.stream}/{name}")

    def child(self, name: str) -> Noise:
        """The same examples, with streams of their own."""
        return Noise(self.seed, f"{self.stream}/{name}", self.first_index)

    def at(self, first_index: int) -> Noise:
        """The same streams for the examples from `first_index` on."""
        return Noise(self.seed, self.stream, first_index)

    def normal(
        self,
        name: str,
        shape: tuple[int, ...],
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Standard normal numbers, shape (B, …); row b belongs to example first_index + b."""
        return ops.normal(self.key(name), shape, first_index=self.first_index, dtype=dtype, device=device)

    def uniform(
        self,
        name: str,
        shape: tuple[int, ...],
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Uniform numbers in [0, 1), shape (B, …)."""
        return ops.uniform(self.key(name), shape, first_index=self.first_index, dtype=dtype, device=device)

    def randint(self, name: str, high: int, shape: tuple[int, ...], *, device: torch.device | str = "cpu") -> Tensor:
        """Integers in 0 … high−1, int64, shape (B, …)."""
        return ops.randint(self.key(name), high, shape, first_index=self.first_index, device=device)
