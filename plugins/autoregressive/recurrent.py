"""A recurrent network over sub-pixels, after the PixelRNN of van den Oord et al. (2016), Pixel Recurrent Neural Networks.

Departures: LSTMs run along the raster, one number after the other, in place of the row LSTM's whole rows, and see what
stands above by their input (`tokens.Stem`) in place of a convolution from state to state.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from genpipe.dropout import Dropout
from genpipe.plugins.autoregressive.tokens import Stem, TokenNetwork

State = list[tuple[Tensor, Tensor] | None]


class Recurrent(TokenNetwork):
    """LSTMs with residual connections; tokens: (B, L), int64 → logits, (B, L, levels)."""

    def __init__(
        self,
        shape: tuple[int, ...],
        levels: int,
        *,
        channels: int,
        num_layers: int,
        dropout: float,
        num_classes: int,
    ) -> None:
        super().__init__(shape, levels)
        self.stem = Stem(self.raster, levels, channels, num_classes)
        self.dropout = Dropout(dropout)
        self.layers: Any = nn.ModuleList(nn.LSTM(channels, channels, batch_first=True) for _ in range(num_layers))
        self.norm, self.head = nn.LayerNorm(channels), nn.Linear(channels, levels)

    def forward(self, tokens: Tensor, y: Tensor | None = None) -> Tensor:
        return self._run(self.stem(tokens, y), [None] * len(self.layers))

    def _run(self, x: Tensor, state: State) -> Tensor:
        """The layers over places that follow each other, from `state` on, which moves."""
        x = self.dropout(x)
        for n, layer in enumerate(self.layers):
            h, state[n] = layer(x, state[n])
            x = x + self.dropout(h)
        return self.head(self.norm(x))

    def start(self, num: int) -> State:
        return [None] * len(self.layers)

    def advance(self, state: State, tokens: Tensor, y: Tensor | None, place: int) -> Tensor:
        return self._run(self.stem.at(tokens, y, place), state)[:, 0]
