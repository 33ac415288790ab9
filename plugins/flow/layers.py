"""Invertible layers of vectors: coupling, autoregressive and linear."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genpipe.networks.made import MADE
from genpipe.plugins.flow.networks import MLP, start_at
from genpipe.plugins.flow.transforms import Transform


class Layer(nn.Module):
    """A bijection of (B, *event) for each context (B, K, …), from data towards the base.

    forward: (y, log|det ∂y/∂x| (B,)); inverse: x of y.
    """

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        raise NotImplementedError


class TwoWayLayer(Layer):
    """A layer that does the same both ways but for its transform."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.map(x, context, inverse=False)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        return self.map(y, context, inverse=True)[0]

    def map(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> tuple[Tensor, Tensor]:
        """What `forward` gives, or the same from the base towards the data."""
        raise NotImplementedError


class Coupling(TwoWayLayer):
    """One half of the dimensions is transformed, by parameters that a network makes of the other (Dinh et al., 2017).

    transformed: (D,) bool; where all are, as with D = 1, their parameters depend on the context alone.
    """

    moving: Tensor
    still: Tensor

    def __init__(
        self,
        transformed: Tensor,
        transform: Transform,
        *,
        hidden: int,
        num_blocks: int,
        num_context: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.transform = transform
        self.register_buffer("moving", transformed.nonzero()[:, 0], persistent=False)
        self.register_buffer("still", (~transformed).nonzero()[:, 0], persistent=False)
        self.network = MLP(
            len(self.still),
            len(self.moving),
            transform.identity(),
            hidden=hidden,
            num_blocks=num_blocks,
            num_context=num_context,
            dropout=dropout,
        )

    def map(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> tuple[Tensor, Tensor]:
        params = self.network(x[:, self.still], context)
        moved, log_det = self.transform(x[:, self.moving], params, inverse=inverse)
        return x.index_copy(1, self.moving, moved), log_det


class Autoregressive(Layer):
    """Each dimension is transformed by parameters made of those before it (Papamakarios et al., 2017).

    One pass gives the density; the inverse finds one dimension after the other. order: (D,), the place of each
    dimension.
    """

    def __init__(
        self, order: Tensor, transform: Transform, *, hidden: int, num_blocks: int, num_context: int, dropout: float
    ) -> None:
        super().__init__()
        self.transform = transform
        # Hidden units see the first 1, 2, …, D − 1 numbers in turn, and where there is a context, some see that alone.
        least, identity = 0 if num_context else 1, transform.identity()
        self.network = MADE(
            order[None],
            1,
            len(identity),
            hidden=hidden,
            num_blocks=num_blocks,
            dropout=dropout,
            num_context=num_context,
            degrees=torch.arange(hidden) % max(len(order) - least, 1) + least,
        )
        start_at(self.network.head, identity)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.transform(x, self.network(x, context))

    @torch.no_grad()
    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        x, drawing = torch.zeros_like(y), self.network.drawing(len(y), context)
        for dimension in drawing.order.tolist():
            params = drawing.next(x[..., None])[:, None]
            x[:, dimension] = self.transform(y[:, dimension, None], params, inverse=True)[0][:, 0]
        return x


class Linear(Layer):
    """W x + b with W = P L U, whose determinant is read off U's diagonal (Kingma & Dhariwal, 2018, eqs. 10–11).

    Starts as a random rotation; P and the diagonal's signs stay those of the start. For images (B, C, H, W) it is a 1×1
    convolution, the same map of the channels at every place (their sec. 3.2).
    """

    permutation: Tensor
    signs: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        rotation = torch.linalg.qr(torch.randn(num_channels, num_channels))[0]
        permutation, lower, upper = torch.linalg.lu(rotation)
        self.register_buffer("permutation", permutation.argmax(dim=1))
        self.register_buffer("signs", upper.diagonal().sign())
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))
        self.log_diagonal = nn.Parameter(upper.diagonal().abs().log())
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def _factors(self) -> tuple[Tensor, Tensor]:
        eye = torch.eye(len(self.bias), dtype=self.bias.dtype, device=self.bias.device)
        return self.lower.tril(-1) + eye, self.upper.triu(1) + torch.diag(self.signs * self.log_diagonal.exp())

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_det = self.log_diagonal.sum() * x[0, 0].numel() if len(x) else x.new_zeros(())
        with _full_precision(x):
            lower, upper = self._factors()
            return _per_place((lower @ upper)[self.permutation], x, self.bias), log_det.expand(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        with _full_precision(y):
            lower, upper = self._factors()
            back = torch.eye(len(self.bias), dtype=y.dtype, device=y.device)[self.permutation].T
            back = torch.linalg.solve_triangular(lower, back, upper=False, unitriangular=True)
            back = torch.linalg.solve_triangular(upper, back, upper=True)
            return _per_place(back, y, -back @ self.bias)


def _full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """For what maps the data itself, whatever the networks compute in: rounding is no bijection, and has no density."""
    return torch.autocast(x.device.type, enabled=False)


def _per_place(weight: Tensor, x: Tensor, bias: Tensor) -> Tensor:
    """A linear map of the channels of x, (B, C) or (B, C, H, W)."""
    return F.linear(x, weight, bias) if x.ndim == 2 else F.conv2d(x, weight[:, :, None, None], bias)


class Shuffle(Layer):
    """A fixed random permutation, where mixing would leave the box that the data lies in."""

    permutation: Tensor

    def __init__(self, num_dimensions: int) -> None:
        super().__init__()
        self.register_buffer("permutation", torch.randperm(num_dimensions))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x[:, self.permutation], x.new_zeros(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        return y[:, self.permutation.argsort()]
