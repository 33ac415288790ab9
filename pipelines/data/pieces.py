"""Which parts of a source are converted together: a function of the data alone, never of who does it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from genpipe.data import Part
from genpipe.data.shard import SHARD_BYTES

MIN_BYTES = 8 << 20
SHARE = 64  # of the data set: a piece is no larger, so that workers find enough of them


@dataclass(frozen=True)
class Piece:
    """Consecutive parts. first: the number of their first example in the whole data set; nums: examples of each part."""

    number: int
    first: int
    parts: tuple[Part, ...]
    nums: tuple[int, ...]

    @property
    def num(self) -> int:
        return sum(self.nums)

    def __str__(self) -> str:
        first, last = self.parts[0].address, self.parts[-1].address
        return first if first == last else f"{first} … {last}"


def pieces(parts: Sequence[Part], nums: Sequence[int], example_bytes: int) -> Iterator[Piece]:
    """All parts, in order, in pieces of about a shard each; a part is never cut."""
    goal = min(max(sum(nums) * example_bytes // SHARE, MIN_BYTES), SHARD_BYTES)
    number = first = begin = 0
    for end in range(1, len(parts) + 1):
        num = sum(nums[begin:end])
        if end == len(parts) or num * example_bytes >= goal:
            yield Piece(number, first, tuple(parts[begin:end]), tuple(nums[begin:end]))
            number, first, begin = number + 1, first + num, end
