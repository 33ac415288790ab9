"""What the networks over rows of tokens share: their input, exact probabilities, and samples one token after another."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genpipe import ops
from genpipe.noise import Noise
from genpipe.plugins.autoregressive.network import LevelNetwork
from genpipe.plugins.autoregressive.raster import Raster


def draw(logits: Tensor, u: Tensor) -> Tensor:
    """The first index, (B,) int64, whose share of softmax(logits), added up in order, exceeds u.

    logits: (B, K); u: (B,), uniform in [0, 1). Sums are in float64, so that rounding moves no level's share.
    """
    shares = logits.double().softmax(1).cumsum(1)
    u = u.clamp(min=torch.finfo(u.dtype).eps / 4).double()  # 0 would take a first level of the least probability
    return (shares <= u[:, None] * shares[:, -1:]).sum(1).clamp(max=logits.shape[1] - 1)


class Stem(nn.Module):
    """What a network sees at the place of each number: its place, its neighbours that came before it, and its label.

    Rows, columns and channels have embeddings of their own, and so has each level at each neighbour: a convolution
    over one-hot pixels, written as a lookup. num_classes: of labels, 0 where there are none.
    """

    neighbours: Tensor
    places: Tensor

    def __init__(self, raster: Raster, levels: int, channels: int, num_classes: int) -> None:
        super().__init__()
        self.levels, self.length = levels, raster.length
        neighbours = raster.neighbours()
        self.register_buffer("neighbours", neighbours.T.contiguous(), persistent=False)
        self.register_buffer("places", torch.stack(raster.places()), persistent=False)
        self.position: Any = nn.ModuleList(
            nn.Embedding(count, channels) for count in (raster.height, raster.width, raster.channels)
        )
        # Level `levels` is that of a neighbour which is not there.
        self.neighbour = nn.Embedding(len(neighbours) * (levels + 1), channels)
        self.label = nn.Embedding(num_classes, channels) if num_classes else None
        for embedding in (*self.position, self.neighbour, *([self.label] if self.label is not None else [])):
            nn.init.normal_(embedding.weight, std=0.3)

    def forward(self, tokens: Tensor, y: Tensor | None) -> Tensor:
        """tokens: (B, L) → (B, L, channels)."""
        return self._at(F.pad(tokens, (0, 1), value=self.levels), y, slice(None))

    def at(self, tokens: Tensor, y: Tensor | None, place: int) -> Tensor:
        """(B, 1, channels), what `forward` gives at one place. tokens: (B, L + 1), the last of level `levels`."""
        return self._at(tokens, y, slice(place, place + 1))

    def _at(self, tokens: Tensor, y: Tensor | None, places: slice) -> Tensor:
        near = self.neighbours[places]  # (P, N)
        offsets = torch.arange(near.shape[1], device=near.device) * (self.levels + 1)
        index = tokens[:, near] + offsets
        x = F.embedding_bag(index.flatten(0, 1), self.neighbour.weight, mode="sum").unflatten(0, index.shape[:2])
        row, column, channel = self.places[:, places]
        x = x + (self.position[0](row) + self.position[1](column) + self.position[2](channel))
        return x if self.label is None else x + self.label(y)[:, None]


class TokenNetwork(LevelNetwork):
    """Logits of each number given those before it in the raster.

    A network writes `forward(tokens, y)`, (B, L) int64 → (B, L, levels), which gives all of them at once, and `start`
    and `advance`, which give the same one place after the other and keep what they computed.
    """

    def __init__(self, shape: tuple[int, ...], levels: int) -> None:
        super().__init__(shape, levels)
        self.raster = Raster.of(shape)

    @abstractmethod
    def start(self, num: int) -> Any:
        """What sampling keeps between places, at the start of `num` examples."""

    @abstractmethod
    def advance(self, state: Any, tokens: Tensor, y: Tensor | None, place: int) -> Tensor:
        """Logits (B, levels) of one place; moves `state`. tokens: (B, L + 1), drawn as far as the place before."""

    def nll(self, x: Tensor, y: Tensor | None) -> Tensor:
        tokens = self.raster.flatten(x)
        return ops.categorical_nll(self(tokens, y).flatten(1), tokens.contiguous())

    def sample(self, num: int, y: Tensor | None, noise: Noise, device: torch.device) -> Tensor:
        u = noise.uniform("pixels", (num, self.raster.length), device=device)
        tokens = torch.full((num, self.raster.length + 1), self.levels, device=device)
        state = self.start(num)
        for place in range(self.raster.length):
            tokens[:, place] = draw(self.advance(state, tokens, y, place), u[:, place])
        return self.raster.unflatten(tokens[:, :-1], self.shape)
