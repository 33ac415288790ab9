"""An example as a row of numbers, and what each of them has beside and above it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Raster:
    """The order in which numbers come: row by row, pixel by pixel, and channel by channel within a pixel.

    An image (C, H, W) has H rows of W pixels, a sequence (L,) one row of L with one channel.
    """

    channels: int
    height: int
    width: int

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Raster:
        """shape: (C, H, W) or (L,)."""
        return cls(*shape) if len(shape) == 3 else cls(1, 1, shape[0])

    @property
    def length(self) -> int:
        """L, the numbers of an example."""
        return self.channels * self.height * self.width

    def flatten(self, x: Tensor) -> Tensor:
        """(B, *shape) → (B, L)."""
        return x.movedim(1, -1).flatten(1) if x.ndim == 4 else x

    def unflatten(self, row: Tensor, shape: tuple[int, ...]) -> Tensor:
        """(B, L) → (B, *shape)."""
        if len(shape) == 1:
            return row
        return row.unflatten(1, (self.height, self.width, self.channels)).movedim(-1, 1)

    def places(self) -> tuple[Tensor, Tensor, Tensor]:
        """Row, column and channel of each number, (L,) each."""
        index = torch.arange(self.length)
        pixel = index // self.channels
        return pixel // self.width, pixel % self.width, index % self.channels

    def neighbours(self) -> Tensor:
        """(N, L): where in the row each number's neighbours stand, L where there is none; all come before it.

        They are the number before it in the row; then, where the image has them, its own channel in the pixels to
        the left, above to the left, above, and above to the right; and the earlier channels of its own pixel.
        """
        index, (row, column, channel) = torch.arange(self.length), self.places()
        found = [torch.where(index > 0, index - 1, self.length)]
        offsets = [(0, -1, 0)] if self.channels > 1 else []
        offsets += [(-1, -1, 0), (-1, 0, 0), (-1, 1, 0)] if self.height > 1 else []
        offsets += [(0, 0, -back) for back in range(1, self.channels)]
        for down, right, later in offsets:
            i, j, c = row + down, column + right, channel + later
            inside = (i >= 0) & (j >= 0) & (j < self.width) & (c >= 0)
            found.append(torch.where(inside, (i * self.width + j) * self.channels + c, self.length))
        return torch.stack(found)
