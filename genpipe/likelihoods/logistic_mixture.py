"""Images drawn from mixtures of discretised logistics, whose likelihood is `ops.discretized_logistic_mixture_nll`.

Pixels are independent of each other given the parameters: for decoders, that make all of an image's parameters at once.
params: (B, M·K, H, W) as that op takes them, M = `num_maps(C)` maps of K logistics each. Salimans et al. (2017),
PixelCNN++.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genpipe import ops
from genpipe.noise import Noise

MIN_LOG_SCALE = -7.0  # the op's


def num_maps(channels: int) -> int:
    """M, the numbers that describe one logistic of a pixel with C channels: 1 + 2 C + C (C − 1) / 2."""
    return 1 + 2 * channels + channels * (channels - 1) // 2


def draw_levels(params: Tensor, channels: int, levels: int, noise: Noise) -> Tensor:
    """Whole numbers 0 … levels − 1, (B, C, H, W) int64, one draw of each image.

    A pixel's logistic is chosen by the largest logit with Gumbel noise, then its channels are drawn in turn, each mean
    shifted by the channels before it (eq. 3), and rounded to the grid on which the masses of bins stand.
    """
    maps = _maps(params, channels)
    shape = tuple(maps[:, 0].shape)
    scores = maps[:, 0] + ops.gumbel(
        noise.key("mixture"), shape, first_index=noise.first_index, dtype=maps.dtype, device=maps.device
    )
    one = scores.argmax(1)[:, None, None].expand(-1, maps.shape[1], 1, *shape[2:])
    chosen = maps.gather(2, one)[:, :, 0]
    u = noise.uniform("logistic", (len(maps), channels, *shape[2:]), dtype=torch.float64, device=maps.device)
    spread = u.clamp(1e-12, 1 - 1e-12).logit().to(maps.dtype)
    values: list[Tensor] = []
    for c in range(channels):
        mean = _shifted(chosen[:, 1 + c], chosen[:, 1 + 2 * channels :], values)
        scale = chosen[:, 1 + channels + c].clamp(min=MIN_LOG_SCALE).exp()
        values.append(_on_grid(mean + scale * spread[:, c], levels))
    return _levels(torch.stack(values, dim=1), levels)


def mean_levels(params: Tensor, channels: int, levels: int) -> Tensor:
    """What is expected of each pixel, (B, C, H, W) real numbers in 0 … levels − 1: the logistics' means, held to the
    range and weighed; within a logistic, the channels before are at theirs."""
    maps = _maps(params, channels)
    weights = maps[:, 0].softmax(1)
    means: list[Tensor] = []
    for c in range(channels):
        means.append(_shifted(maps[:, 1 + c], maps[:, 1 + 2 * channels :], means).clamp(-1, 1))
    return ((weights[:, None] * torch.stack(means, dim=1)).sum(2) + 1) * ((levels - 1) / 2)


def _maps(params: Tensor, channels: int) -> Tensor:
    """(B, M, K, H, W), in float32 at least."""
    params = params.float() if params.dtype == torch.bfloat16 else params
    return params.unflatten(1, (num_maps(channels), -1))


def _shifted(mean: Tensor, coefficients: Tensor, before: list[Tensor]) -> Tensor:
    """A channel's mean given the channels before it; coefficients: all of the maps behind means and scales."""
    first = len(before) * (len(before) - 1) // 2
    for place, value in enumerate(before):
        mean = mean + coefficients[:, first + place].tanh() * value
    return mean


def _on_grid(value: Tensor, levels: int) -> Tensor:
    """The nearest 2 · level / (levels − 1) − 1."""
    return _levels(value, levels).to(value.dtype) * (2 / (levels - 1)) - 1


def _levels(value: Tensor, levels: int) -> Tensor:
    return ((value + 1) * ((levels - 1) / 2)).round().clamp(0, levels - 1).long()
