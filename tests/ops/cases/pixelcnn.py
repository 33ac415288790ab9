"""Sampling pixel by pixel: programs that use every step there is."""

from __future__ import annotations

import torch
from torch import Tensor

from genpipe import ops
from genpipe.ops import PixelMap, PixelProgram, PixelProgramBuilder
from tests.ops.cases import Case, Draw, randn

KEY = ops.key(0, 0)


class Weights:
    """Normal weights, each the next of a fixed sequence, scaled to keep activations of order 1."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype, self.drawn = dtype, 0

    def __call__(self, *shape: int) -> Tensor:
        self.drawn += 1
        return randn(*shape, dtype=self.dtype, seed=self.drawn) / max(1, sum(shape[1:])) ** 0.5


def group_mask(outputs: int, inputs: int, groups: int, own: bool) -> Tensor:
    """Of a 1×3 kernel: the place to the left, and at the centre earlier groups, with their own where `own`."""
    mask = torch.zeros(outputs, inputs, 1, 3)
    mask[:, :, :, 0] = 1
    to, source = torch.arange(outputs) * groups // outputs, torch.arange(inputs) * groups // inputs
    mask[:, :, 0, 1] = (source[None] <= to[:, None] if own else source[None] < to[:, None]).float()
    return mask


def gated(image: tuple[int, int, int], levels: int, dtype: torch.dtype, channels: int = 12) -> PixelProgram:
    """Two layers of a gated PixelCNN, drawn from logits."""
    program, w, groups = PixelProgramBuilder(image, levels), Weights(dtype), image[0]
    v = h = program.image
    for num_in, own in ((groups, False), (channels, True)):
        origin = (1, 1) if own else (2, 1)
        vertical = program.conv(v, w(2 * channels, num_in, 2, 3), w(2 * channels), origin=origin, by_rows=True)
        across = program.conv(vertical, w(2 * channels, 2 * channels, 1, 1), by_rows=True)
        mask = group_mask(2 * channels, num_in, groups, own)
        weight = w(2 * channels, num_in, 1, 3)
        x = program.conv(h, weight, w(2 * channels), origin=(0, 1), mask=mask, addend=across, groups=groups)
        h = program.gate(x)
        v = program.gate(vertical)
    mask = group_mask(groups * levels, channels, groups, True)[..., 1:2]
    program.conv(program.relu(h), 2 * w(groups * levels, channels, 1, 1), w(groups * levels), mask=mask, groups=groups)
    return program.build()


def mixture(
    image: tuple[int, int, int], levels: int, dtype: torch.dtype, channels: int = 6, num_mixtures: int = 3
) -> PixelProgram:
    """Two streams that are halved and doubled once, as in PixelCNN++, drawn from mixtures of logistics."""
    program, w = PixelProgramBuilder(image, levels, num_mixtures=num_mixtures, with_ones=True), Weights(dtype)

    def block(x: PixelMap, beside: PixelMap | None, width: int, by_rows: bool) -> PixelMap:
        y = None
        if beside is not None:
            y = program.conv(program.concat_elu(beside), w(channels, 2 * channels, 1, 1), by_rows=beside.by_rows)
        activated = program.concat_elu(x)
        weight = w(channels, 2 * channels, 2, width)
        y = program.conv(activated, weight, w(channels), origin=(1, 1), addend=y, by_rows=by_rows)
        weight = w(2 * channels, 2 * channels, 2, width)
        y = program.conv(program.concat_elu(y), weight, w(2 * channels), origin=(1, 1), by_rows=by_rows)
        return program.gated_residual(y, x)

    num_in = image[0] + 1
    u = program.conv(program.image, w(channels, num_in, 2, 3), w(channels), origin=(2, 1), by_rows=True)
    left = program.conv(program.image, w(channels, num_in, 2, 1), w(channels), origin=(1, 1))
    ul = block(left, u, 2, False)
    weight = w(channels, channels, 2, 3)
    small_u = program.conv(block(u, None, 3, True), weight, w(channels), origin=(1, 1), by_rows=True, scale="down")
    small_ul = program.conv(ul, w(channels, channels, 2, 2), w(channels), origin=(1, 1), scale="down")
    small_ul = block(small_ul, small_u, 2, False)
    big_u = program.conv(small_u, w(channels, channels, 2, 3), w(channels), origin=(0, 1), by_rows=True, scale="up")
    big_ul = program.conv(small_ul, w(channels, channels, 2, 2), w(channels), scale="up")
    ul = block(big_ul, block(big_u, u, 3, True), 2, False)
    num = image[0]
    parameters = num_mixtures * (1 + 2 * num + num * (num - 1) // 2)
    program.conv(program.concat_elu(ul), w(parameters, 2 * channels, 1, 1), w(parameters))
    return program.build()


def arguments(program: PixelProgram, num: int, first_index: int) -> tuple:
    size = list(program.image)
    tables = (program.maps, program.steps, program.taps)
    return (program.weights, *tables, size, program.levels, program.num_mixtures, KEY, num, first_index)


def case(about: str, make, image: tuple[int, int, int], levels: int) -> Case:
    def call(draw: Draw) -> tuple:
        weights, *rest = arguments(make(image, levels, draw.dtype), 5, 3)
        return (weights.to(draw.device), *rest)

    return Case("pixelcnn_sample", call, about, dtypes=(torch.float32, torch.float64), sized=False)


CASES = [
    case("gated, grey", gated, (1, 5, 4), 3),
    case("gated, two channels", gated, (2, 4, 3), 20),
    case("mixture, three channels", mixture, (3, 5, 7), 9),
]

GATED = gated((1, 5, 4), 3, torch.float32)


def changed(**fields) -> object:
    """The op called with other arguments than those of a sound program."""
    given = {"weights": GATED.weights, "maps": GATED.maps, "steps": GATED.steps, "taps": GATED.taps}
    given |= {"image": [1, 5, 4], "levels": 3, "num_mixtures": 0, "key": KEY, "num": 2, "first_index": 0, **fields}
    return torch.ops.genpipe.pixelcnn_sample(*given.values())


def edited(table: Tensor, row: int, column: int, value: int) -> Tensor:
    table = table.clone()
    table[row, column] = value
    return table


MISTAKES = {
    "pixelcnn_sample: weights must be float32 or float64, got bfloat16": lambda: changed(
        weights=GATED.weights.bfloat16()
    ),
    "pixelcnn_sample: weights must have one dimension, got shape (": lambda: changed(weights=GATED.weights[None]),
    "pixelcnn_sample: maps must be int64, got float32": lambda: changed(maps=GATED.maps.float()),
    "pixelcnn_sample: taps must have shape (N, 4), got (": lambda: changed(taps=GATED.taps[:, :3]),
    "pixelcnn_sample: image must be (channels, height, width), got 2 numbers": lambda: changed(image=[5, 4]),
    "pixelcnn_sample: image has the size 0, expected 1 to ": lambda: changed(image=[1, 0, 4]),
    "pixelcnn_sample: levels must be 2 to 65536, got 1": lambda: changed(levels=1),
    "pixelcnn_sample: num_mixtures must not be negative, got -1": lambda: changed(num_mixtures=-1),
    "pixelcnn_sample: num must not be negative, got -1": lambda: changed(num=-1),
    "pixelcnn_sample: first_index must not be negative, got -1": lambda: changed(first_index=-1),
    "pixelcnn_sample: key must be int64 of shape (2,)": lambda: changed(key=KEY.float()),
    "pixelcnn_sample: maps must hold the image and what is drawn from, got 1": lambda: changed(maps=GATED.maps[:1]),
    "pixelcnn_sample: maps[0] must be the image: level 0 and 2 channels": lambda: changed(image=[2, 5, 4]),
    "pixelcnn_sample: maps[1] has 0 channels": lambda: changed(maps=edited(GATED.maps, 1, 0, 0)),
    "pixelcnn_sample: maps[1] begins at 7, expected ": lambda: changed(maps=edited(GATED.maps, 1, 3, 7)),
    "pixelcnn_sample: maps[12] must be what is drawn from: level 0 and 4 channels": lambda: changed(levels=4),
    "pixelcnn_sample: steps[0] has no such op: 9": lambda: changed(steps=edited(GATED.steps, 0, 0, 9)),
    "pixelcnn_sample: steps[0] has group 1 of 1": lambda: changed(steps=edited(GATED.steps, 0, 1, 1)),
    "pixelcnn_sample: steps[0] writes into the image": lambda: changed(
        steps=edited(edited(GATED.steps, 0, 2, 0), 0, 6, 1)
    ),
    "pixelcnn_sample: steps[0] dst is no map: 13": lambda: changed(steps=edited(GATED.steps, 0, 2, 13)),
    "pixelcnn_sample: steps[0] has weights beyond": lambda: changed(steps=edited(GATED.steps, 0, 9, 10**6)),
    "pixelcnn_sample: steps[0] reads taps beyond": lambda: changed(steps=edited(GATED.steps, 0, 12, 10**6)),
    "pixelcnn_sample: taps[0] reads row -9 of map 0, which keeps ": lambda: changed(taps=edited(GATED.taps, 0, 0, -9)),
    "pixelcnn_sample: taps[0] reads 2 channels of map 0": lambda: changed(taps=edited(GATED.taps, 0, 2, 2)),
}
