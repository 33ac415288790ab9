"""Sampling from autoregressive networks over images, each activation computed once."""

from __future__ import annotations

import torch
from torch import Tensor

from genpipe.ops import _extension  # noqa: F401
from genpipe.ops.pixel_program import PixelProgram


def pixelcnn_sample(program: PixelProgram, key: Tensor, num: int, *, first_index: int = 0) -> Tensor:
    """Samples of a causal network, (num, channels, height, width), int64 in [0, levels), on the weights' device.

    Pixels are drawn in raster order, channels one after the other: logits by inverting their distribution function,
    mixtures by a component and then each channel's logistic, its mean shifted by the channels before it (Salimans et
    al., 2017, sec. 2.2) and its value rounded to the nearest level.

    Sample first_index + i takes the uniforms that ops.uniform(key, (num, height, width, program.draws)) gives it, in
    the weights' precision, and is the same whatever num, the threads and the device. It is what a full pass of the
    network per pixel would draw from the same uniforms, unless one falls within rounding of a decision's edge.

    key: int64 (2,), from ops.key. RuntimeError names what is wrong.
    """
    return torch.ops.genpipe.pixelcnn_sample(
        program.weights,
        program.maps,
        program.steps,
        program.taps,
        program.image,
        program.levels,
        program.num_mixtures,
        key,
        num,
        first_index,
    )


@torch.library.register_fake("genpipe::pixelcnn_sample")
def _(weights, maps, steps, taps, image, levels, num_mixtures, key, num, first_index):
    return torch.empty((num, *image), dtype=torch.int64, device=weights.device)
