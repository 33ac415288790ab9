"""Small networks from an extractor's input to a vector, and back."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genpipe import ops

SMALLEST = 4  # space is halved until it is no larger
CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d}


def sizes(space: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Of space, halved again and again, rounding up."""
    found = [space]
    while max(found[-1]) > SMALLEST:
        found.append(tuple((size + 1) // 2 for size in found[-1]))
    return found


class Encoder(nn.Module):
    """z (B, D) or (B, C, *space) → (B, num_out): an MLP of two hidden layers, or convolutions of stride 2."""

    def __init__(self, shape: tuple[int, ...], num_out: int, width: int, hidden: int) -> None:
        super().__init__()
        if len(shape) == 1:
            before = [nn.Linear(shape[0], hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()]
            self.layers = nn.Sequential(*before, nn.Linear(hidden, num_out))
            return
        convolution, steps = CONVOLUTIONS[len(shape) - 1], sizes(shape[1:])
        layers: list[nn.Module] = [convolution(shape[0], width, 3, padding=1), nn.SiLU()]
        widths = [width, *[2 * width] * (len(steps) - 1)]
        for inner, outer in itertools.pairwise(widths):
            layers += [convolution(inner, outer, 3, stride=2, padding=1), nn.SiLU()]
        head = nn.Linear(widths[-1] * math.prod(steps[-1]), num_out)
        self.layers = nn.Sequential(*layers, nn.Flatten(), head)

    def forward(self, z: Tensor) -> Tensor:
        answer: Tensor = self.layers(z)
        return answer


class Decoder(nn.Module):
    """Code (B, num_in) → (B, *shape): the encoder's mirror, which doubles space by repeating and then convolves."""

    def __init__(self, shape: tuple[int, ...], num_in: int, width: int, hidden: int) -> None:
        super().__init__()
        self.sizes = sizes(shape[1:]) if len(shape) > 1 else []
        if len(shape) == 1:
            before = [nn.Linear(num_in, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()]
            self.stem = nn.Sequential(*before, nn.Linear(hidden, shape[0]))
            return
        convolution = CONVOLUTIONS[len(shape) - 1]
        widths = [*[2 * width] * (len(self.sizes) - 1), width]
        self.smallest = (widths[0], *self.sizes[-1])
        self.stem = nn.Sequential(nn.Linear(num_in, math.prod(self.smallest)), nn.SiLU())
        self.convolutions = nn.ModuleList(convolution(a, b, 3, padding=1) for a, b in itertools.pairwise(widths))
        self.head = convolution(widths[-1], shape[0], 3, padding=1)

    def forward(self, code: Tensor) -> Tensor:
        h: Tensor = self.stem(code)
        if not self.sizes:
            return h
        h = h.unflatten(1, self.smallest)
        for size, convolution in zip(self.sizes[-2::-1], self.convolutions, strict=True):
            h = F.silu(convolution(F.interpolate(h, size=size, mode="nearest")))
        answer: Tensor = self.head(h)
        return answer


def initialise(network: nn.Module, seed: int) -> None:
    """Weights N(0, 2 / fan-in) (He et al., 2015, eq. 10), biases 0: the same on every machine."""
    for name, parameter in network.named_parameters():
        if parameter.ndim == 1:
            nn.init.zeros_(parameter)
            continue
        normal = ops.normal(ops.key(seed, f"weights/{name}"), parameter.shape)
        with torch.no_grad():
            parameter.copy_(normal * math.sqrt(2 / parameter[0].numel()))
