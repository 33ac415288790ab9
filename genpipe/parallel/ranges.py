"""Ranges of example index: what work over many examples is cut into."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Range:
    """Examples start … stop − 1."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __str__(self) -> str:
        return f"examples {self.start} … {self.stop - 1}"

    @property
    def slice(self) -> slice:
        return slice(self.start, self.stop)

    def moved(self, by: int) -> Range:
        return Range(self.start + by, self.stop + by)

    def cut(self, size: int) -> list[Range]:
        """Parts of `size` examples, the last of what is left. Where they begin depends on nothing else."""
        return [Range(start, min(start + size, self.stop)) for start in range(self.start, self.stop, size)]
