"""How weights lie in memory: the order in which they are read. Numbers stay as they are."""

from __future__ import annotations

import torch
from torch import nn


def channels_last(network: nn.Module) -> None:
    """Convolutions' weights with channels innermost, which the processor's kernels take as they are.

    A convolution of such weights gives such images, and what follows keeps to it, so that nothing is reordered between
    layers: as long as no layer in between gives another order, which its neighbours then undo at every step.
    """
    for parameter in network.parameters():
        if parameter.ndim == 4:
            # `contiguous` leaves weights of one channel alone, for they lie both ways at once; but torch takes such
            # strides for its own order, and gives images in that.
            laid = torch.empty(
                parameter.shape, dtype=parameter.dtype, device=parameter.device, memory_format=torch.channels_last
            )
            parameter.data = laid.copy_(parameter.data)


def inputs_outermost(network: nn.Module) -> None:
    """Linear layers' weights with a row for each input, as the product with a small batch reads them."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            module.weight.data = module.weight.data.t().contiguous().t()
