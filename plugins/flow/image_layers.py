"""Invertible layers of images: couplings by convolutions, and a scale and shift of each channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genpipe.plugins.flow.layers import Layer, TwoWayLayer
from genpipe.plugins.flow.networks import ConvNet
from genpipe.plugins.flow.transforms import Transform


class ImageCoupling(TwoWayLayer):
    """Some of an image's numbers are transformed, by parameters that convolutions make of the others.

    transformed: (C, H, W) bool. Each of C channels at each place gets parameters; those of the others are not used.
    """

    transformed: Tensor
    places: Tensor

    def __init__(
        self,
        transformed: Tensor,
        transform: Transform,
        *,
        channels: int,
        num_blocks: int,
        num_context: int,
        dropout: float,
    ) -> None:
        super().__init__()
        num = len(transformed)
        self.transform = transform
        self.register_buffer("transformed", transformed, persistent=False)
        self.register_buffer("places", transformed.flatten().nonzero()[:, 0], persistent=False)
        self.network = ConvNet(
            2 * num,
            num,
            transform.identity(),
            channels=channels,
            num_blocks=num_blocks,
            num_context=num_context,
            dropout=dropout,
        )

    def map(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> tuple[Tensor, Tensor]:
        known = x.masked_fill(self.transformed, 0)
        params = self.network(torch.cat([known, self.transformed.to(x.dtype).expand_as(x)], dim=1), context)
        # Picked before the transform: what stays as it is costs nothing there.
        flat, picked = x.flatten(1), params.flatten(1, 3).index_select(1, self.places)
        moved, log_det = self.transform(flat.index_select(1, self.places), picked, inverse=inverse)
        return flat.index_copy(1, self.places, moved).view_as(x), log_det


class ActNorm(Layer):
    """Each channel scaled and shifted, so that the batch which it starts from has mean 0 and variance 1 (Kingma &
    Dhariwal, 2018, sec. 3.1): `(x − mean) / std · exp(log_scale) + bias`, of which mean and std stay those of the start.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_channels, 1, 1))
        self.register_buffer("std", torch.ones(num_channels, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(num_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(num_channels, 1, 1))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_det = (self.log_scale - self.std.log()).sum() * (x.shape[2] * x.shape[3])
        return (x - self.mean) / self.std * self.log_scale.exp() + self.bias, log_det.expand(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        return (y - self.bias) / self.log_scale.exp() * self.std + self.mean

    @staticmethod
    def moments(x: Tensor) -> Tensor:
        """(3, C) of a part of a batch: how many numbers each channel has, their sum and the sum of their squares."""
        x = x.detach().double().transpose(0, 1).flatten(1)
        return torch.stack([torch.full_like(x[:, 0], x.shape[1]), x.sum(dim=1), x.square().sum(dim=1)])

    def start_from(self, moments: Tensor) -> None:
        """Mean and deviation from `moments`, summed over the parts."""
        count, total, squares = moments
        mean = total / count
        self.mean.copy_(mean[:, None, None])
        self.std.copy_((squares / count - mean.square()).clamp(min=1e-6).sqrt()[:, None, None])


def checkerboard(shape: tuple[int, int, int], parity: int) -> Tensor:
    """(C, H, W) bool: places whose row and column sum to an even (parity 0) or odd (1) number."""
    rows, columns = torch.arange(shape[1])[:, None], torch.arange(shape[2])[None, :]
    return ((rows + columns) % 2 == parity).expand(shape)


def alternate_channels(shape: tuple[int, int, int], index: int) -> Tensor:
    """(C, H, W) bool, half of the channels: by the bits of their number in turn, each with its complement."""
    bits = max((shape[0] - 1).bit_length(), 1)
    bit = (torch.arange(shape[0]) >> (index // 2 % bits)) & 1
    return (bit == index % 2)[:, None, None].expand(shape)
