"""What residual networks are made of, whatever their layers."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from genpipe.dropout import Dropout


class Residual(nn.Module):
    """h + f(h), for any two layers of one width, each after its activation (He et al., 2016b, fig. 1e)."""

    def __init__(self, first: nn.Module, second: nn.Module, dropout: float) -> None:
        super().__init__()
        self.first, self.second, self.dropout = first, second, Dropout(dropout)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.second(self.dropout(F.silu(self.first(F.silu(h)))))
