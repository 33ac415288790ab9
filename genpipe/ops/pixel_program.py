"""Causal networks over images as programs for ops.pixelcnn_sample: data, which compiles, exports and travels.

A program has maps (the image, and each layer's output), steps that say how a place of one map follows from places of
others, taps (the places that a convolution reads) and one vector of packed weights. The tables are int64 and on the
CPU; their columns, and how they are run, stand in core_ext/include/genpipe/pixelcnn_sample.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

PANEL = 16  # outputs that lie together in packed weights
CONV, GATE, GATED_RESIDUAL, CONCAT_ELU, RELU = range(5)
SCALES = {"same": 0, "down": 1, "up": -1}


@dataclass(frozen=True)
class PixelMap:
    """A layer's output within a program.

    level: height and width are the image's over 2**level, rounded up; by_rows: whether row i depends on rows before i
    alone, so that it is computed as a whole; groups: of channels, one after the other along the image's channels.
    """

    index: int
    channels: int
    level: int = 0
    by_rows: bool = False
    groups: int = 1


@dataclass(frozen=True)
class PixelProgram:
    """What ops.pixelcnn_sample runs; made by PixelProgramBuilder.

    weights: (num,), float32 or float64; maps, steps, taps: int64, on the CPU; image: (channels, height, width);
    levels: of a channel's value; num_mixtures: 0 where the last map holds logits, channels × levels of them.
    """

    weights: Tensor
    maps: Tensor
    steps: Tensor
    taps: Tensor
    image: tuple[int, int, int]
    levels: int
    num_mixtures: int

    @property
    def draws(self) -> int:
        """Uniforms that a pixel takes: one a channel, and one for the component of a mixture."""
        return self.image[0] + (self.num_mixtures > 0)


class PixelProgramBuilder:
    """Makes a program layer by layer, in the order in which they run.

    image: (channels, height, width); levels: values of a channel, which the network sees spread over [-1, 1];
    num_mixtures: 0 for logits of each level, else the logistics of each pixel's mixture; with_ones: one more input
    channel, of ones, by which the network tells the image from what surrounds it.

    Every method takes and gives maps. ValueError where a layer would read what is not yet drawn.
    """

    def __init__(
        self, image: tuple[int, int, int], levels: int, *, num_mixtures: int = 0, with_ones: bool = False
    ) -> None:
        self.size, self.levels, self.num_mixtures = image, levels, num_mixtures
        self._maps: list[PixelMap] = []
        self._depths: list[int] = []
        self._steps: list[list[int]] = []
        self._taps: list[list[int]] = []
        self._weights: list[Tensor] = []
        self._num_weights = 0
        self.image = self._map(image[0] + with_ones, groups=1 if num_mixtures else image[0])

    def conv(
        self,
        x: PixelMap,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        origin: tuple[int, int] = (0, 0),
        mask: Tensor | None = None,
        addend: PixelMap | None = None,
        by_rows: bool = False,
        groups: int = 1,
        scale: Literal["same", "down", "up"] = "same",
    ) -> PixelMap:
        """A convolution of x that skips what lies outside of the image, plus `addend`.

        weight: (outputs, inputs, height, width), whose element (ky, kx) meets place (i + ky − oy, j + kx − ox) of x
        for an origin (oy, ox). down: that place from (2i, 2j) on, a strided convolution. up: the transposed one;
        element (ky, kx) leads from (i, j) to (2i + ky − oy, 2j + kx − ox). mask: of weight's shape, zero where it is
        dead; within a group of outputs it is the same, and leaves the first so many inputs of each place.
        """
        outputs, inputs, height, width = weight.shape
        if inputs != x.channels or outputs % groups:
            raise ValueError(f"weight has shape {tuple(weight.shape)} for {x.channels} channels and {groups} groups")
        y = self._map(outputs, x.level + SCALES[scale], by_rows, groups)
        size = outputs // groups
        places = [(ky, kx) for ky in range(height) for kx in range(width)]
        for group in range(groups):
            rows = slice(group * size, (group + 1) * size)
            live = [inputs if mask is None else int(mask[group * size, :, ky, kx].sum()) for ky, kx in places]
            bias_at = -1 if bias is None else self._pack(bias[rows])
            for parity in range(4) if scale == "up" else [-1]:
                taps = []
                for (ky, kx), channels in zip(places, live, strict=True):
                    dy, dx = ky - origin[0], kx - origin[1]
                    if parity >= 0:
                        (dy, odd_row), (dx, odd_column) = divmod(parity // 2 - dy, 2), divmod(parity % 2 - dx, 2)
                        if odd_row or odd_column:
                            continue
                    if channels:
                        self._check_causal(x, y, group, dy, dx, channels)
                        taps.append((dy, dx, channels, weight[rows, :channels, ky, kx]))
                self._conv_step(x, y, group, taps, bias_at, addend, SCALES[scale], parity)
        return y

    def gate(self, x: PixelMap) -> PixelMap:
        """tanh(a) · sigmoid(b) of the halves a, b of each group of channels (van den Oord et al., 2016, eq. 2)."""
        return self._each(GATE, x, x.channels // 2)

    def gated_residual(self, x: PixelMap, addend: PixelMap) -> PixelMap:
        """addend + a · sigmoid(b) of x's halves a, b (Salimans et al., 2017, fig. 2)."""
        return self._each(GATED_RESIDUAL, x, x.channels // 2, addend)

    def concat_elu(self, x: PixelMap) -> PixelMap:
        """elu(x) and elu(−x), side by side."""
        return self._each(CONCAT_ELU, x, 2 * x.channels)

    def relu(self, x: PixelMap) -> PixelMap:
        """max(x, 0)."""
        return self._each(RELU, x, x.channels)

    def build(self) -> PixelProgram:
        """The program; what was made last is what pixels are drawn from."""
        rows, offset = [], 0
        for one, depth in zip(self._maps, self._depths, strict=True):
            rows.append([one.channels, one.level, depth, offset])
            width = -(-self.size[2] // 2**one.level)
            offset += -(-depth * width * one.channels // 4) * 4
        steps = sorted(self._steps, key=lambda step: step[1])  # of rows first, then group by group
        maps, steps_table, taps = (torch.tensor(table, dtype=torch.int64) for table in (rows, steps, self._taps))
        weights = torch.cat(self._weights)
        return PixelProgram(weights, maps, steps_table, taps, self.size, self.levels, self.num_mixtures)

    def _map(self, channels: int, level: int = 0, by_rows: bool = False, groups: int = 1) -> PixelMap:
        self._maps.append(PixelMap(len(self._maps), channels, level, by_rows, groups))
        self._depths.append(1)
        return self._maps[-1]

    def _each(self, op: int, x: PixelMap, channels: int, addend: PixelMap | None = None) -> PixelMap:
        y = self._map(channels, x.level, x.by_rows, x.groups)
        read, written = x.channels // x.groups, channels // x.groups
        count = min(read, written)
        for group in range(x.groups):
            added = [-1, 0] if addend is None else [addend.index, group * written]
            places = [y.index, group * written, x.index, group * read]
            self._steps.append([op, -1 if x.by_rows else group, *places, count, *added, 0, -1, 0, 0, 0, 0, -1])
        return y

    def _conv_step(
        self,
        x: PixelMap,
        y: PixelMap,
        group: int,
        taps: list[tuple[int, int, int, Tensor]],
        bias_at: int,
        addend: PixelMap | None,
        scale: int,
        parity: int,
    ) -> None:
        size, first_tap, row = y.channels // y.groups, len(self._taps), 0
        for dy, dx, channels, _ in taps:
            self._taps.append([dy, dx, channels, row])
            self._depths[x.index] = max(self._depths[x.index], 1 - dy)
            row += channels
        weight = torch.cat([w for *_, w in taps], dim=1)  # (outputs, rows)
        padded = torch.nn.functional.pad(weight, (0, 0, 0, -size % PANEL))
        at = self._pack(padded.unflatten(0, (-1, PANEL)).transpose(1, 2))
        added = [-1, 0] if addend is None else [addend.index, group * size]
        places = [y.index, group * size, x.index, 0, size, *added]
        step = [CONV, -1 if y.by_rows else group, *places, at, bias_at, row, first_tap, len(taps), scale, parity]
        self._steps.append(step)

    def _pack(self, weight: Tensor) -> int:
        at, weight = self._num_weights, weight.detach().flatten()
        self._weights.append(weight.float() if weight.dtype != torch.float64 else weight)
        self._num_weights += weight.numel()
        return at

    def _check_causal(self, x: PixelMap, y: PixelMap, group: int, dy: int, dx: int, channels: int) -> None:
        """A row's maps read earlier rows of the image; a pixel's read earlier pixels, and their own earlier groups."""
        drawn = group if x.index == 0 else (group + 1) * x.channels // x.groups
        known = dy < 0 or (dy == 0 and (x.by_rows or (not y.by_rows and (dx < 0 or (dx == 0 and channels <= drawn)))))
        if not known:
            raise ValueError(f"map {y.index} reads {channels} channels of map {x.index} at ({dy}, {dx}): not yet known")
