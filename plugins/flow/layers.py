"""Invertible layers of vectors: coupling, autoregressive and linear."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genpipe.plugins.flow.networks import MADE, MLP
from genpipe.plugins.flow.transforms import Transform


class Layer(nn.Module):
    """A bijection of (B, D). forward: (y, log|det ∂y/∂x| (B,)), from data towards the base; inverse: x of y."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def inverse(self, y: Tensor) -> Tensor:
        raise NotImplementedError


class Coupling(Layer):
    """One half of the dimensions is transformed, by parameters that a network makes of the other (Dinh et al., 2017).

    transformed: (D,) bool; where all are, as with D = 1, their parameters are the same for every example.
    """

    moving: Tensor
    still: Tensor

    def __init__(self, transformed: Tensor, transform: Transform, *, hidden: int, num_blocks: int, dropout: float):
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
            dropout=dropout,
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._map(x, inverse=False)

    def inverse(self, y: Tensor) -> Tensor:
        return self._map(y, inverse=True)[0]

    def _map(self, x: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        params = self.network(x[:, self.still])
        moved, log_det = self.transform(x[:, self.moving], params, inverse=inverse)
        return x.index_copy(1, self.moving, moved), log_det


class Autoregressive(Layer):
    """Each dimension is transformed by parameters made of those before it (Papamakarios et al., 2017).

    One pass gives the density; the inverse takes a pass for each dimension. order: (D,), the place of each dimension.
    """

    order: Tensor

    def __init__(self, order: Tensor, transform: Transform, *, hidden: int, num_blocks: int, dropout: float):
        super().__init__()
        self.transform = transform
        self.register_buffer("order", order, persistent=False)
        self.network = MADE(order, transform.identity(), hidden=hidden, num_blocks=num_blocks, dropout=dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.transform(x, self.network(x))

    def inverse(self, y: Tensor) -> Tensor:
        x = torch.zeros_like(y)
        for dimension in self.order.argsort().tolist():
            params = self.network(x)[:, dimension]
            value, _ = self.transform(y[:, dimension : dimension + 1], params[:, None], inverse=True)
            x[:, dimension] = value[:, 0]
        return x


class Linear(Layer):
    """x W^T + b with W = P L U, whose determinant is read off U's diagonal (Kingma & Dhariwal, 2018, sec. 3.2).

    Starts as a random permutation.
    """

    permutation: Tensor

    def __init__(self, num_dimensions: int) -> None:
        super().__init__()
        self.register_buffer("permutation", torch.randperm(num_dimensions))
        self.lower = nn.Parameter(torch.zeros(num_dimensions, num_dimensions))
        self.upper = nn.Parameter(torch.zeros(num_dimensions, num_dimensions))
        self.log_diagonal = nn.Parameter(torch.zeros(num_dimensions))
        self.bias = nn.Parameter(torch.zeros(num_dimensions))

    def _factors(self) -> tuple[Tensor, Tensor]:
        eye = torch.eye(len(self.bias), device=self.bias.device)
        return self.lower.tril(-1) + eye, self.upper.triu(1) + torch.diag(self.log_diagonal.exp())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self._factors()
        y = F.linear(F.linear(x[:, self.permutation], upper), lower, self.bias)
        return y, self.log_diagonal.sum().expand(len(x))

    def inverse(self, y: Tensor) -> Tensor:
        lower, upper = self._factors()
        x = torch.linalg.solve_triangular(lower, (y - self.bias).T, upper=False, unitriangular=True)
        x = torch.linalg.solve_triangular(upper, x, upper=True).T
        return x[:, self.permutation.argsort()]


class Shuffle(Layer):
    """A fixed random permutation, where mixing would leave the box that the data lies in."""

    permutation: Tensor

    def __init__(self, num_dimensions: int) -> None:
        super().__init__()
        self.register_buffer("permutation", torch.randperm(num_dimensions))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, self.permutation], x.new_zeros(len(x))

    def inverse(self, y: Tensor) -> Tensor:
        return y[:, self.permutation.argsort()]
