"""Where in its bin a whole number is put (Ho et al., 2019, Flow++, sec. 3.1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from genpipe.plugins.flow.image_layers import ImageCoupling, checkerboard
from genpipe.plugins.flow.layers import Layer
from genpipe.plugins.flow.transforms import Spline


class Dequantisation(Layer):
    """A bijection of every bin onto itself, which the whole image chooses.

    z: (B, C, H, W) in [−1, 1), whole numbers k with a uniform u, 2 (k + u) / levels − 1 (genpipe.units). Each u moves to
    g(u) by a flow g of the unit cube given k, whose samples have the density q(g(u) | k) = 1 / |det ∂g/∂u|. So what the
    uniform bound log p(k) ≥ E log p(k + u) becomes is Flow++'s, E log p(k + g(u)) − log q(g(u) | k), and log_density stays
    the exact density of z. Samples need none of it: whatever g gives lies in the bin.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        levels: int,
        *,
        num_layers: int,
        num_bins: int,
        channels: int,
        num_blocks: int,
    ) -> None:
        super().__init__()
        self.levels = levels
        self.layers: Any = nn.ModuleList(
            ImageCoupling(
                checkerboard(shape, index % 2),
                Spline(num_bins, 1.0),
                channels=channels,
                num_blocks=num_blocks,
                num_context=shape[0],
                dropout=0.0,
            )
            for index in range(num_layers)
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        middles, offsets = self._split(x)
        log_det = x.new_zeros(len(x))
        for layer in self.layers:
            offsets, part = layer(offsets, middles)
            log_det = log_det + part
        return middles + offsets / self.levels, log_det

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        middles, offsets = self._split(y)
        for layer in reversed(list(self.layers)):
            offsets = layer.inverse(offsets, middles)
        return middles + offsets / self.levels

    def _split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The middles of the bins, and where z lies in them, −1 to 1."""
        bins = torch.floor((z.detach() + 1) * (self.levels / 2)).clamp(0, self.levels - 1)
        middles = (2 * bins + 1) / self.levels - 1
        return middles, (z - middles) * self.levels
