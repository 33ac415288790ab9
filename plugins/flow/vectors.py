"""A flow of flattened examples, and the logit that takes a range away."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from genpipe.plugins.flow.config import FlowConfig
from genpipe.plugins.flow.layers import Autoregressive, Coupling, Layer, Linear, Shuffle
from genpipe.plugins.flow.transforms import Transform

LOGIT_MARGIN = 0.05


class VectorFlow(Layer):
    """Coupling or autoregressive layers over flattened examples, mixed in between: (B, *event) → (B, D)."""

    def __init__(
        self,
        num_dimensions: int,
        autoregressive: bool,
        transform: Transform,
        in_box: bool,
        num_context: int,
        config: FlowConfig,
    ) -> None:
        super().__init__()
        self.layers: Any = nn.ModuleList()
        sizes = {"hidden": config.hidden, "num_blocks": config.num_blocks, "num_context": num_context}
        half = torch.arange(num_dimensions) % 2 == 0
        raster = torch.arange(num_dimensions)
        for index in range(config.num_layers):
            if autoregressive:
                order = raster if index % 2 == 0 else raster.flip(0)
                layer: Layer = Autoregressive(order, transform, **sizes, dropout=config.dropout)
            else:
                # Two layers in a row move everything; a lone dimension is moved by each.
                moved = half if index % 2 == 0 or num_dimensions == 1 else ~half
                layer = Coupling(moved, transform, **sizes, dropout=config.dropout)
            self.layers.append(layer)
            if index < config.num_layers - 1 and not autoregressive:
                if not in_box:
                    self.layers.append(Linear(num_dimensions))
                elif index % 2 == 1:
                    self.layers.append(Shuffle(num_dimensions))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_det = x.flatten(1), x.new_zeros(len(x))
        for layer in self.layers:
            x, part = layer(x, context)
            log_det = log_det + part
        return x, log_det

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        for layer in reversed(list(self.layers)):
            y = layer.inverse(y, context)
        return y


def to_logit(z: Tensor) -> tuple[Tensor, Tensor]:
    """[−1, 1) → the real line, and log|det| (B,) (Dinh et al., 2017, sec. 4.1)."""
    p = LOGIT_MARGIN + (1 - 2 * LOGIT_MARGIN) * (z + 1) / 2
    log_det = math.log((1 - 2 * LOGIT_MARGIN) / 2) - p.log() - (1 - p).log()
    return torch.logit(p), log_det.flatten(1).sum(dim=1)


def from_logit(x: Tensor) -> Tensor:
    return 2 * (torch.sigmoid(x) - LOGIT_MARGIN) / (1 - 2 * LOGIT_MARGIN) - 1
