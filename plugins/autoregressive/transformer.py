"""A causal Transformer over the numbers of an image or a sequence, in the order of the raster.

Vaswani et al. (2017), Attention Is All You Need; Parmar et al. (2018), Image Transformer. Departures: normalisation
comes before each part (Xiong et al., 2020), positions are learned for rows, columns and channels, and each place also
sees its neighbours themselves (`tokens.Stem`), which on small data is worth more than another layer.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genpipe.dropout import Dropout
from genpipe.plugins.autoregressive.tokens import Stem, TokenNetwork


class Cache:
    """Keys and values of the places that a layer has seen, (2, B, heads, L, features)."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.kept: Tensor | None = None

    def extend(self, new: Tensor, place: int) -> Tensor:
        """Those up to `place`, whose own are new: (2, B, heads, 1, features)."""
        if self.kept is None:
            self.kept = new.new_empty((*new.shape[:3], self.length, new.shape[4]))
        self.kept[:, :, :, place : place + 1] = new
        return self.kept[:, :, :, : place + 1]


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); x: (B, L, channels)."""

    def __init__(self, channels: int, num_heads: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.attended = nn.Linear(channels, channels)
        self.wide, self.narrow = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.dropout = Dropout(dropout)
        for layer in (self.query_key_value, self.attended, self.wide, self.narrow):
            nn.init.normal_(layer.weight, std=1 / math.sqrt(layer.in_features))
            nn.init.zeros_(layer.bias)
        with torch.no_grad():  # so that the sum of all layers starts out no larger than the input
            for layer in (self.attended, self.narrow):
                layer.weight.mul_(1 / math.sqrt(2 * num_layers))

    def forward(self, x: Tensor, cache: Cache | None = None, place: int = 0) -> Tensor:
        """With a cache, x is (B, 1, channels), that of one place, and attends to those that are kept."""
        parts = self.query_key_value(self.attention_norm(x)).unflatten(2, (3, self.num_heads, -1))
        query, key_value = parts.permute(2, 0, 3, 1, 4).split([1, 2])
        key, value = key_value if cache is None else cache.extend(key_value, place)
        y = F.scaled_dot_product_attention(query[0], key, value, is_causal=cache is None)
        x = x + self.dropout(self.attended(y.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.narrow(F.gelu(self.wide(self.mlp_norm(x)))))


class Transformer(TokenNetwork):
    """tokens: (B, L), int64 → logits, (B, L, levels). channels is rounded up to a multiple of num_heads."""

    def __init__(
        self,
        shape: tuple[int, ...],
        levels: int,
        *,
        channels: int,
        num_layers: int,
        num_heads: int,
        dropout: float,
        num_classes: int,
    ) -> None:
        super().__init__(shape, levels)
        channels = -(-channels // num_heads) * num_heads
        self.stem = Stem(self.raster, levels, channels, num_classes)
        self.dropout = Dropout(dropout)
        self.blocks: Any = nn.ModuleList(Block(channels, num_heads, num_layers, dropout) for _ in range(num_layers))
        self.norm, self.head = nn.LayerNorm(channels), nn.Linear(channels, levels)

    def forward(self, tokens: Tensor, y: Tensor | None = None) -> Tensor:
        x = self.dropout(self.stem(tokens, y))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def start(self, num: int) -> list[Cache]:
        return [Cache(self.raster.length) for _ in self.blocks]

    def advance(self, state: list[Cache], tokens: Tensor, y: Tensor | None, place: int) -> Tensor:
        x = self.stem.at(tokens, y, place)
        for block, cache in zip(self.blocks, state, strict=True):
            x = block(x, cache, place)
        return self.head(self.norm(x))[:, 0]
