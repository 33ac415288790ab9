"""A flow of images at several resolutions (Dinh et al., 2017, sec. 3.4–3.6)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genpipe.plugins.flow.networks import ConvNet
from genpipe.plugins.flow.transforms import Transform


class ImageCoupling(nn.Module):
    """Some of an image's numbers are transformed, by parameters that convolutions make of the others.

    transformed: (C, H, W) bool. Each of C channels at each place gets parameters; those of the others are not used.
    """

    transformed: Tensor

    def __init__(self, transformed: Tensor, transform: Transform, *, channels: int, num_blocks: int, dropout: float):
        super().__init__()
        num = len(transformed)
        self.transform = transform
        self.register_buffer("transformed", transformed, persistent=False)
        self.network = ConvNet(
            2 * num, num, transform.identity(), channels=channels, num_blocks=num_blocks, dropout=dropout
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._map(x, inverse=False)

    def inverse(self, y: Tensor) -> Tensor:
        return self._map(y, inverse=True)[0]

    def _map(self, x: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        known = x.masked_fill(self.transformed, 0)
        params = self.network(torch.cat([known, self.transformed.to(x.dtype).expand_as(x)], dim=1))
        # Picked before the transform: what stays as it is costs nothing there.
        moved, log_det = self.transform(x[:, self.transformed], params[:, self.transformed], inverse=inverse)
        y = x.clone()
        y[:, self.transformed] = moved
        return y, log_det


def checkerboard(shape: tuple[int, int, int], parity: int) -> Tensor:
    """(C, H, W) bool: places whose row and column sum to an even (parity 0) or odd (1) number."""
    rows, columns = torch.arange(shape[1])[:, None], torch.arange(shape[2])[None, :]
    return ((rows + columns) % 2 == parity).expand(shape)


def alternate_channels(shape: tuple[int, int, int], index: int) -> Tensor:
    """(C, H, W) bool, half of the channels: by the bits of their number in turn, each with its complement."""
    bits = max((shape[0] - 1).bit_length(), 1)
    bit = (torch.arange(shape[0]) >> (index // 2 % bits)) & 1
    return (bit == index % 2)[:, None, None].expand(shape)


class MultiscaleFlow(nn.Module):
    """Couplings over a checkerboard, then, at half the resolution and four times the channels, over channels; half of
    the channels is then done, and the rest goes on to the next scale.

    forward: (B, C, H, W) → (B, C·H·W) and log|det| (B,).
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        transform: Transform,
        *,
        num_scales: int,
        num_layers: int,
        channels: int,
        num_blocks: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.scales: Any = nn.ModuleList()
        self.shapes: list[tuple[int, int, int]] = []  # of each scale, as it comes in

        def coupling(transformed: Tensor) -> ImageCoupling:
            return ImageCoupling(transformed, transform, channels=channels, num_blocks=num_blocks, dropout=dropout)

        at = shape
        for scale in range(num_scales):
            if scale > 0:
                at = (4 * at[0], at[1] // 2, at[2] // 2)
            self.shapes.append(at)
            masks = [checkerboard(at, i % 2) if scale == 0 else alternate_channels(at, i) for i in range(num_layers)]
            self.scales.append(nn.ModuleList(map(coupling, masks)))
            if 0 < scale < num_scales - 1:
                at = (at[0] - at[0] // 2, *at[1:])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        done, log_det = [], x.new_zeros(len(x))
        for scale, layers in enumerate(self.scales):
            if scale > 0:
                x = F.pixel_unshuffle(x, 2)
            for layer in layers:
                x, part = layer(x)
                log_det = log_det + part
            if 0 < scale < len(self.scales) - 1:
                x, finished = x.split([x.shape[1] - x.shape[1] // 2, x.shape[1] // 2], dim=1)
                done.append(finished.flatten(1))
        return torch.cat([*done, x.flatten(1)], dim=1), log_det

    def inverse(self, u: Tensor) -> Tensor:
        shapes = self.shapes
        x = u.new_zeros(len(u), 0)
        rest = u
        for scale in reversed(range(len(self.scales))):
            c, h, w = shapes[scale]
            if scale == len(self.scales) - 1:
                x, rest = rest[:, -c * h * w :].unflatten(1, (c, h, w)), rest[:, : -c * h * w]
            elif scale > 0:
                num = c // 2 * h * w
                finished = rest[:, rest.shape[1] - num :].unflatten(1, (c // 2, h, w))
                x, rest = torch.cat([x, finished], dim=1), rest[:, : rest.shape[1] - num]
            for layer in reversed(list(self.scales[scale])):
                x = layer.inverse(x)
            if scale > 0:
                x = F.pixel_shuffle(x, 2)
        return x
