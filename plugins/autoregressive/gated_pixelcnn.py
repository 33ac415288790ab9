"""The gated PixelCNN of van den Oord et al. (2016), sec. 2.2–2.3, with labels as in sec. 2.4.

Departure: a label moves the vertical stack alone, which hands it on to the horizontal one.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from genpipe.dropout import Dropout
from genpipe.ops import PixelMap, PixelProgram, PixelProgramBuilder, gated_activation
from genpipe.ops.masked_conv import MaskType
from genpipe.plugins.autoregressive.layers import LabelBias, MaskedConv2d
from genpipe.plugins.autoregressive.pixels import PixelNetwork

FIRST_MASKS: tuple[MaskType, MaskType] = ("vertical_A", "A")
MASKS: tuple[MaskType, MaskType] = ("vertical_B", "B")


class GatedLayer(nn.Module):
    """One layer of both stacks (fig. 2).

    The vertical stack sees all rows above, the horizontal one the pixels to the left, and the vertical one beside it:
    together every earlier pixel, without a blind spot. Channels come in groups, one for each of the image's, and a
    group sees its own and earlier ones at the same pixel.
    """

    def __init__(
        self, num_in: int, channels: int, kernel_size: int, groups: int, is_first: bool, num_classes: int
    ) -> None:
        super().__init__()
        # The first layer sees the rows above a place's own; from then on its own row holds what they gave.
        vertical, horizontal = FIRST_MASKS if is_first else MASKS
        self.vertical = MaskedConv2d(vertical, num_in, 2 * channels, (kernel_size, kernel_size))
        self.label = LabelBias(num_classes, 2 * channels)
        self.across = MaskedConv2d("vertical_B", 2 * channels, 2 * channels)
        self.horizontal = MaskedConv2d(horizontal, num_in, 2 * channels, (1, kernel_size), groups)
        self.output = MaskedConv2d("B", channels, channels, groups=groups)
        self.groups, self.is_first = groups, is_first

    def forward(self, v: Tensor, h: Tensor, y: Tensor | None, dropout: nn.Module) -> tuple[Tensor, Tensor]:
        vertical = self.label(self.vertical(v), y)
        gated = self._gate(self.horizontal(h), self.across(vertical))
        out = self.output(dropout(gated))
        return gated_activation(vertical), out if self.is_first else h + out

    def _gate(self, x: Tensor, addend: Tensor) -> Tensor:
        """Each group's halves gate each other, so that no group sees a later one's."""
        if self.groups == 1:
            return gated_activation(x, addend)
        x, addend = (t.unflatten(1, (self.groups, -1)).flatten(0, 1) for t in (x, addend))
        return gated_activation(x, addend).unflatten(0, (-1, self.groups)).flatten(1, 2)

    def add_to(
        self, program: PixelProgramBuilder, v: PixelMap, h: PixelMap, label: int | None
    ) -> tuple[PixelMap, PixelMap]:
        vertical = self.vertical.add_to(program, v, label_bias=self.label.of(label))
        across = self.across.add_to(program, vertical)
        gated = program.gate(self.horizontal.add_to(program, h, addend=across))
        return program.gate(vertical), self.output.add_to(program, gated, addend=None if self.is_first else h)


class GatedPixelCNN(PixelNetwork):
    """Logits of every level of every channel, given the pixels and channels before it.

    x: levels spread over [-1, 1], (B, C, H, W) → logits, (B, C · levels, H, W).
    """

    def __init__(
        self,
        image: tuple[int, int, int],
        levels: int,
        *,
        channels: int,
        num_layers: int,
        kernel_size: int,
        first_kernel_size: int,
        dropout: float,
        num_classes: int,
    ) -> None:
        super().__init__(image, levels)
        groups = image[0]
        channels = -(-channels // groups) * groups
        self.layers: Any = nn.ModuleList(
            GatedLayer(
                channels if n else groups,
                channels,
                kernel_size if n else first_kernel_size,
                groups,
                is_first=n == 0,
                num_classes=num_classes,
            )
            for n in range(num_layers)
        )
        self.dropout = Dropout(dropout)
        self.hidden = MaskedConv2d("B", channels, channels, groups=groups)
        self.head = MaskedConv2d("B", channels, groups * levels, groups=groups)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        v = h = x
        for layer in self.layers:
            v, h = layer(v, h, y, self.dropout)
        return self.head(F.relu(self.hidden(F.relu(h))))

    def program(self, label: int | None = None) -> PixelProgram:
        program = PixelProgramBuilder(self.image, self.levels)
        v = h = program.image
        for layer in self.layers:
            v, h = layer.add_to(program, v, h, label)
        self.head.add_to(program, program.relu(self.hidden.add_to(program, program.relu(h))))
        return program.build()
