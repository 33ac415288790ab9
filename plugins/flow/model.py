"""The normalizing flow: exact density, codes, samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from genpipe.dataspec import DataSpec
from genpipe.errors import DataError, UsageError
from genpipe.model import Model, Sampler
from genpipe.noise import Noise
from genpipe.plugins.flow import FLOW
from genpipe.plugins.flow.config import FlowConfig
from genpipe.plugins.flow.layers import Autoregressive, Coupling, Layer, Linear, Shuffle
from genpipe.plugins.flow.multiscale import MultiscaleFlow
from genpipe.plugins.flow.transforms import Affine, Spline, Transform

MOST_SCALES = 3


class NormalizingFlow(Model):
    """log p(z) = log p(u) + log|det ∂u/∂z| for an invertible u = f(z) (Dinh et al., 2017, eq. 2).

    Data with a range fills the box [−1, 1)^D in network units. There splines map the box onto itself and the base is
    uniform on it, so that no probability lies where no data can be (Müller et al., 2019, sec. 4). Other data, and affine
    layers, have a standard normal base; affine layers see data with a range through a logit (Dinh et al., sec. 4.1).
    """

    config: FlowConfig

    def __init__(self, config: FlowConfig, spec: DataSpec) -> None:
        super().__init__(FLOW, config, spec)
        has_range = spec.levels is not None or spec.low is not None
        self.in_box = has_range and config.transform == "spline"
        self.by_logit = has_range and not self.in_box
        transform: Transform = (
            Spline(config.num_bins, 1.0 if self.in_box else config.bound) if config.transform == "spline" else Affine()
        )
        structure = config.structure
        if structure == "auto":
            structure = "multiscale" if spec.event == "image" else "coupling"
        if structure == "multiscale":
            if spec.event != "image":
                raise UsageError(
                    f"model.structure is 'multiscale', and data set '{spec.name}' has {spec.event}s: use 'coupling'"
                )
            self.flow: nn.Module = MultiscaleFlow(
                (spec.shape[0], spec.shape[1], spec.shape[2]),
                transform,
                num_scales=self._num_scales(),
                num_layers=config.num_layers,
                channels=config.channels,
                num_blocks=config.num_blocks,
                dropout=config.dropout,
            )
        else:
            self.flow = VectorFlow(spec.num_dimensions, structure == "autoregressive", transform, self.in_box, config)

    def _num_scales(self) -> int:
        """As many as are asked for; DataError where the sides cannot be halved so often."""
        height, width = self.spec.shape[1:]
        possible = 1 + min((side & -side).bit_length() - 1 for side in (height, width))
        asked = self.config.num_scales
        if asked is not None and asked > possible:
            raise DataError(
                f"model.num_scales is {asked}, and images of {height} × {width} (data set '{self.spec.name}') halve evenly "
                f"{possible - 1} times: at most {possible}"
            )
        return asked or min(possible, MOST_SCALES)

    def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
        """Negative log-likelihood in nats per dimension."""
        return {"loss": -self.log_density(z, y, noise).mean() / self.spec.num_dimensions}

    def log_density(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        """(B,) nats, exact."""
        before = z.new_zeros(len(z))
        if self.by_logit:
            z, before = to_logit(z)
        u, log_det = self.flow(z)
        return self._base(u) + log_det + before

    def _base(self, u: Tensor) -> Tensor:
        u = u.flatten(1)
        if self.in_box:
            inside = (u.abs() <= 1).all(dim=1)
            return torch.where(inside, -u.shape[1] * math.log(2), -math.inf)
        return -0.5 * (u.square() + math.log(2 * math.pi)).sum(dim=1)

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        shape = (num, self.spec.num_dimensions)
        if self.in_box:
            return self.reconstruct(2 * noise.uniform("base", shape, device=self.device) - 1, y)
        return self.reconstruct(noise.normal("base", shape, device=self.device), y)

    def infer(self, z: Tensor, y: Tensor | None) -> Tensor:
        """u, (B, D)."""
        u: Tensor = self.flow(to_logit(z)[0] if self.by_logit else z)[0]
        return u.flatten(1)

    def reconstruct(self, code: Tensor, y: Tensor | None) -> Tensor:
        z: Tensor = self.flow.inverse(code.to(torch.float32))  # type: ignore[operator]
        return (from_logit(z) if self.by_logit else z).reshape(len(code), *self.spec.shape)


class VectorFlow(nn.Module):
    """Coupling or autoregressive layers over flattened examples, mixed in between."""

    def __init__(
        self, num_dimensions: int, autoregressive: bool, transform: Transform, in_box: bool, config: FlowConfig
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        sizes = {"hidden": config.hidden, "num_blocks": config.num_blocks}
        half = torch.arange(num_dimensions) % 2 == 0
        raster = torch.arange(num_dimensions)
        for index in range(config.num_layers):
            if autoregressive:
                order = raster if index % 2 == 0 else raster.flip(0)
                layer: Layer = Autoregressive(order, transform, **sizes, dropout=config.dropout)
            else:
                layer = Coupling(half, transform, **sizes, dropout=config.dropout)
            self.layers.append(layer)
            if index < config.num_layers - 1 and not autoregressive:
                self.layers.append(Shuffle(num_dimensions) if in_box else Linear(num_dimensions))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = x.flatten(1), x.new_zeros(len(x))
        for layer in self.layers:
            x, part = layer(x)
            log_det = log_det + part
        return x, log_det

    def inverse(self, u: Tensor) -> Tensor:
        for layer in reversed(list(self.layers)):
            u = layer.inverse(u)  # type: ignore[operator]
        return u


LOGIT_MARGIN = 0.05


def to_logit(z: Tensor) -> tuple[Tensor, Tensor]:
    """[−1, 1) → the real line, and log|det| (B,) (Dinh et al., 2017, sec. 4.1)."""
    p = LOGIT_MARGIN + (1 - 2 * LOGIT_MARGIN) * (z + 1) / 2
    log_det = math.log((1 - 2 * LOGIT_MARGIN) / 2) - p.log() - (1 - p).log()
    return torch.logit(p), log_det.flatten(1).sum(dim=1)


def from_logit(x: Tensor) -> Tensor:
    return 2 * (torch.sigmoid(x) - LOGIT_MARGIN) / (1 - 2 * LOGIT_MARGIN) - 1


def build(config: FlowConfig, spec: DataSpec) -> NormalizingFlow:
    return NormalizingFlow(config, spec)
