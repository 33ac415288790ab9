"""Sampling pixel by pixel: the slow way that anybody would write, and the cached way that runs a program."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from genpipe.ops.pixel_program import CONCAT_ELU, CONV, GATE, GATED_RESIDUAL, PANEL, PixelProgram
from genpipe.ops.random import uniform


def level_value(level: Tensor, levels: int, dtype: torch.dtype) -> Tensor:
    """What the network sees of a level: 0 … levels−1 spread over [-1, 1]."""
    return level.to(dtype) * (2 / (levels - 1)) - 1


def draw_categorical(logits: Tensor, u: Tensor) -> Tensor:
    """The first index, (B,), whose share of softmax(logits), (B, K), added up in order, exceeds u, (B,)."""
    weights = (logits - logits.amax(1, keepdim=True)).exp().double()
    u = u.clamp(min=torch.finfo(u.dtype).eps / 4).double()
    sums = weights.cumsum(1)
    return (sums <= u[:, None] * sums[:, -1:]).sum(1).clamp(max=logits.shape[1] - 1)


def draw_mixture(parameters: Tensor, u: Tensor, levels: int, num_mixtures: int) -> Tensor:
    """Levels, (B, C), of parameters (B, P) for uniforms (B, 1 + C): a component, then channel by channel.

    P holds logits (K), means (C, K), log-scales (C, K), and the tanh's argument of each earlier channel's coefficient
    (C (C − 1) / 2, K): those of channel c begin at c (c − 1) / 2.
    """
    num_channels, k = u.shape[1] - 1, num_mixtures
    component = draw_categorical(parameters[:, :k], u[:, 0])
    chosen = parameters.unflatten(1, (-1, k)).gather(
        2, component[:, None, None].expand(-1, parameters.shape[1] // k, 1)
    )
    _, means, log_scales, coefficients = chosen[..., 0].split(
        [1, num_channels, num_channels, num_channels * (num_channels - 1) // 2], dim=1
    )
    drawn: list[Tensor] = []
    for c in range(num_channels):
        mean = means[:, c]
        for before, value in enumerate(drawn):
            mean = mean + coefficients[:, c * (c - 1) // 2 + before].tanh() * level_value(value, levels, mean.dtype)
        v = u[:, 1 + c].clamp(min=torch.finfo(u.dtype).eps / 4)
        x = mean + log_scales[:, c].clamp(min=-7).exp() * (v.log() - (1 - v).log())
        drawn.append(((x + 1) / 2 * (levels - 1)).round().clamp(0, levels - 1).long())
    return torch.stack(drawn, dim=1)


def pixelcnn_sample_naive(
    network: Callable[[Tensor], Tensor],
    image: tuple[int, int, int],
    levels: int,
    num_mixtures: int,
    key: Tensor,
    num: int,
    first_index: int = 0,
    dtype: torch.dtype = torch.float64,
    num_pixels: int | None = None,
) -> Tensor:
    """Levels (num, C, H, W) by one full pass per pixel, and per channel of logits.

    network: values (num, C, H, W) → what pixels are drawn from, (num, P, H, W). num_pixels: stop after so many.
    """
    num_channels, height, width = image
    u = uniform(key, (num, height, width, num_channels + (num_mixtures > 0)), first_index=first_index, dtype=dtype)
    drawn = torch.zeros((num, *image), dtype=torch.int64)
    for place in range(height * width if num_pixels is None else num_pixels):
        i, j = divmod(place, width)
        if num_mixtures:
            parameters = network(level_value(drawn, levels, dtype))[:, :, i, j]
            drawn[:, :, i, j] = draw_mixture(parameters, u[:, i, j], levels, num_mixtures)
            continue
        for c in range(num_channels):
            logits = network(level_value(drawn, levels, dtype))[:, c * levels : (c + 1) * levels, i, j]
            drawn[:, c, i, j] = draw_categorical(logits, u[:, i, j, c])
    return drawn


def pixelcnn_sample(
    program: PixelProgram, key: Tensor, num: int, first_index: int = 0, num_rows: int | None = None
) -> Tensor:
    """Levels (num, C, H, W) by running the program with cached activations, in the precision of its weights."""
    runner = _Runner(program, num)
    num_channels, height, width = program.image
    shape = (num, height, width, program.draws)
    weights = program.weights
    u = uniform(key, shape, first_index=first_index, dtype=weights.dtype, device=weights.device)
    drawn = torch.zeros((num, *program.image), dtype=torch.int64, device=weights.device)
    groups = 1 if program.num_mixtures else num_channels
    for i in range(height if num_rows is None else num_rows):
        runner.run(-1, i, None)
        for j in range(width):
            for group in range(groups):
                runner.run(group, i, j)
                parameters = runner.maps[-1][:, :, i, j]
                if program.num_mixtures:
                    level = draw_mixture(parameters, u[:, i, j], program.levels, program.num_mixtures)
                    channels = slice(None)
                else:
                    logits = parameters[:, group * program.levels : (group + 1) * program.levels]
                    level = draw_categorical(logits, u[:, i, j, group])[:, None]
                    channels = slice(group, group + 1)
                drawn[:, channels, i, j] = level
                values = runner.maps[0][:, :num_channels]
                values[:, channels, i, j] = level_value(level, program.levels, weights.dtype)
            runner.maps[0][:, num_channels:, i, j] = 1
    return drawn


class _Runner:
    """Whole maps, (num, channels, height, width), and the steps of one place or row."""

    def __init__(self, program: PixelProgram, num: int) -> None:
        self.height, self.width = program.image[1:]
        self.levels = [row[1] for row in program.maps.tolist()]
        self.maps = [
            program.weights.new_zeros(num, channels, -(-self.height // 2**level), -(-self.width // 2**level))
            for channels, level, *_ in program.maps.tolist()
        ]
        taps = program.taps.tolist()
        self.steps = []
        for step in program.steps.tolist():
            count = step[6]
            at, bias_at, rows, first_tap, num_taps = step[9:14]
            weight, bias = program.weights[:0], None
            if step[0] == CONV:
                panels = math.ceil(count / PANEL)
                packed = program.weights[at : at + panels * rows * PANEL].view(panels, rows, PANEL)
                weight = packed.transpose(1, 2).reshape(panels * PANEL, rows)[:count]
                bias = program.weights[bias_at : bias_at + count] if bias_at >= 0 else None
            self.steps.append((step, taps[first_tap : first_tap + num_taps], weight, bias))

    def run(self, group: int, i: int, j: int | None) -> None:
        for step, taps, weight, bias in self.steps:
            level, parity = self.levels[step[2]], step[15]
            if step[1] != group or i % 2**level or (j is not None and j % 2**level):
                continue
            row = i >> level
            columns = list(range(self.maps[step[2]].shape[3])) if j is None else [j >> level]
            if parity >= 0:
                columns = [c for c in columns if c % 2 == parity % 2] if row % 2 == parity // 2 else []
            if columns:
                self.step(step, taps, weight, bias, row, torch.tensor(columns))

    def step(
        self, step: list[int], taps: list[list[int]], weight: Tensor, bias: Tensor | None, i: int, j: Tensor
    ) -> None:
        op, _, dst, dst_channel, src, src_channel, count, addend, addend_channel = step[:9]
        x = self.maps[src][:, src_channel:]
        if op == CONV:
            y = self.conv(x, taps, weight, bias, step[14], i, j)
        elif op == CONCAT_ELU:
            here = x[:, :count, i, j]
            y = torch.cat([F.elu(here), F.elu(-here)], dim=1)
        elif op in (GATE, GATED_RESIDUAL):
            a, b = x[:, :count, i, j], x[:, count : 2 * count, i, j].sigmoid()
            y = a.tanh() * b if op == GATE else a * b
        else:
            y = x[:, :count, i, j].relu()
        if addend >= 0:
            y = y + self.maps[addend][:, addend_channel : addend_channel + count, i, j]
        self.maps[dst][:, dst_channel : dst_channel + y.shape[1], i, j] = y

    def conv(
        self, x: Tensor, taps: list[list[int]], weight: Tensor, bias: Tensor | None, scale: int, i: int, j: Tensor
    ) -> Tensor:
        if scale:
            i, j = (2 * i, 2 * j) if scale > 0 else (i // 2, j // 2)
        read = []
        for dy, dx, channels, _ in taps:
            inside = (j + dx >= 0) & (j + dx < x.shape[3]) & (i + dy >= 0)
            read.append(x[:, :channels, max(i + dy, 0), (j + dx).clamp(0, x.shape[3] - 1)] * inside.to(x))
        y = torch.einsum("nk,bkw->bnw", weight, torch.cat(read, dim=1))
        return y if bias is None else y + bias[:, None]
