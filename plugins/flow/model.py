"""The normalizing flow: exact density, codes, samples."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.errors import DataError, UsageError
from genpipe.model import Batch, Model, Optimizers, Sampler
from genpipe.networks.labels import one_hot
from genpipe.noise import Noise
from genpipe.plugins.flow import FLOW
from genpipe.plugins.flow.config import FlowConfig
from genpipe.plugins.flow.dequantisation import Dequantisation
from genpipe.plugins.flow.image_layers import ActNorm, ImageCoupling
from genpipe.plugins.flow.layers import Layer
from genpipe.plugins.flow.multiscale import MultiscaleFlow, glow_layers, plan, real_nvp_layers
from genpipe.plugins.flow.transforms import Affine, Spline, Transform
from genpipe.plugins.flow.vectors import VectorFlow, from_logit, to_logit

MOST_SCALES = 3
DEQUANTISATION_LAYERS = 4


class NormalizingFlow(Model):
    """log p(z) = log p(u) + log|det ∂u/∂z| for an invertible u = f(z) (Dinh et al., 2017, eq. 2), maximised.

    It answers exactly: the density of any example (of whole numbers, dequantised: a bound on their probability), its code
    u, and samples by the inverse. A code has as many numbers as an example.

    Data with a range fills the box [−1, 1)^D in network units. There splines map the box onto itself and the base is
    uniform on it, so that no probability lies where no data can be (Müller et al., 2019, sec. 4). Other data, affine
    layers, and Glow's linear ones, have a standard normal base; they see data with a range through a logit (Dinh et al.,
    sec. 4.1). Where the model is conditional, every layer's network sees the label, and p(z given y) is what is maximised.
    """

    config: FlowConfig

    def __init__(self, config: FlowConfig, spec: DataSpec) -> None:
        super().__init__(FLOW, config, spec)
        structure = config.structure
        if structure == "auto":
            structure = "multiscale" if spec.event == "image" else "coupling"
        has_range = spec.levels is not None or spec.low is not None
        self.in_box = has_range and config.transform == "spline" and structure != "glow"
        self.by_logit = has_range and not self.in_box
        self.num_context = (spec.num_classes or 0) if config.conditional else 0
        transform: Transform = (
            Spline(config.num_bins, 1.0 if self.in_box else config.bound) if config.transform == "spline" else Affine()
        )
        self.flow: Layer
        if structure in ("multiscale", "glow"):
            if spec.event != "image":
                raise UsageError(
                    f"model.structure is '{structure}', and data set '{spec.name}' has {spec.event}s: use 'coupling'"
                )
            self.flow = self._image_flow(transform, glow=structure == "glow")
        else:
            autoregressive = structure == "autoregressive"
            self.flow = VectorFlow(
                spec.num_dimensions, autoregressive, transform, self.in_box, self.num_context, config
            )
        self.dequantisation = self._dequantisation() if config.dequantisation == "variational" else None
        self.norms = [layer for layer in self.flow.modules() if isinstance(layer, ActNorm)]

    def _image_flow(self, transform: Transform, *, glow: bool) -> MultiscaleFlow:
        config, shape = self.config, (self.spec.shape[0], self.spec.shape[1], self.spec.shape[2])

        def couple(transformed: Tensor) -> ImageCoupling:
            return ImageCoupling(
                transformed,
                transform,
                channels=config.channels,
                num_blocks=config.num_blocks,
                num_context=self.num_context,
                dropout=config.dropout,
            )

        # Glow's scales are all below full resolution, where the sides can be halved at all.
        halvings = min((side & -side).bit_length() - 1 for side in shape[1:])
        squeeze_first = glow and halvings > 0
        scales = plan(shape, self._num_scales(halvings, squeeze_first), squeeze_first=squeeze_first)
        make = glow_layers if glow else real_nvp_layers
        return MultiscaleFlow(scales, lambda at: make(at, config.num_layers, couple))

    def _num_scales(self, halvings: int, squeeze_first: bool) -> int:
        """As many as are asked for; DataError where the sides cannot be halved so often."""
        possible = halvings + (not squeeze_first)
        asked = self.config.num_scales
        if asked is not None and asked > possible:
            height, width = self.spec.shape[1:]
            raise DataError(
                f"model.num_scales is {asked}, and images of {height} × {width} (data set '{self.spec.name}') halve evenly "
                f"{halvings} times: at most {possible}"
            )
        return asked or min(possible, MOST_SCALES)

    def _dequantisation(self) -> Dequantisation:
        spec, config = self.spec, self.config
        if spec.event != "image" or spec.levels is None:
            raise UsageError(
                f"model.dequantisation is 'variational', which is for images of whole numbers, and data set '{spec.name}' "
                f"has {spec.event}s{'' if spec.levels else ' of real values'}: use 'uniform'"
            )
        return Dequantisation(
            (spec.shape[0], spec.shape[1], spec.shape[2]),
            spec.levels,
            num_layers=DEQUANTISATION_LAYERS,
            num_bins=config.num_bins,
            channels=config.channels,
            num_blocks=config.num_blocks,
        )

    def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
        """Negative log-likelihood in nats per dimension."""
        return {"loss": -self.log_density(z, y, noise).mean() / self.spec.num_dimensions}

    def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
        """The first steps also measure what comes into one actnorm each, in turn: all before it have been set by then."""
        if step >= len(self.norms):
            return super().train_step(batch, optimizers, step)
        seen: list[Tensor] = []
        with self.norms[step].register_forward_pre_hook(lambda _, args: seen.append(ActNorm.moments(args[0]))):
            terms = super().train_step(batch, optimizers, step)
        optimizers.sum("moments", seen[0])
        return terms

    def after_step(self, totals: Mapping[str, Tensor], step: int) -> None:
        if "moments" in totals:
            self.norms[step].start_from(totals["moments"])

    def log_density(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        """(B,) nats, exact."""
        u, log_det = self._to_base(z, y)
        return self._base(u) + log_det

    def _to_base(self, z: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """u (B, D) and log|det ∂u/∂z| (B,)."""
        log_det = z.new_zeros(len(z))
        if self.dequantisation is not None:
            z, log_det = self.dequantisation(z)
        if self.by_logit:
            z, part = to_logit(z)
            log_det = log_det + part
        u, part = self.flow(z, self._context(y))
        return u.flatten(1), log_det + part

    def _from_base(self, u: Tensor, y: Tensor | None) -> Tensor:
        z = self.flow.inverse(u, self._context(y))
        z = (from_logit(z) if self.by_logit else z).reshape(len(u), *self.spec.shape)
        return z if self.dequantisation is None else self.dequantisation.inverse(z)

    def _context(self, y: Tensor | None) -> Tensor | None:
        """Labels as the layers' networks take them: one-hot, (B, K) or (B, K, 1, 1)."""
        context = one_hot(y, self.num_context)
        return context[:, :, None, None] if context is not None and isinstance(self.flow, MultiscaleFlow) else context

    def _base(self, u: Tensor) -> Tensor:
        if self.in_box:
            inside = (u.abs() <= 1).all(dim=1)
            return torch.where(inside, -u.shape[1] * math.log(2), -math.inf)
        return -0.5 * (u.square() + math.log(2 * math.pi)).sum(dim=1)

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        shape = (num, self.spec.num_dimensions)
        if self.in_box:
            return self._from_base(2 * noise.uniform("base", shape, device=self.device) - 1, y)
        return self._from_base(noise.normal("base", shape, device=self.device), y)

    def infer(self, z: Tensor, y: Tensor | None) -> Tensor:
        """u, (B, D)."""
        return self._to_base(z, y)[0]

    def reconstruct(self, code: Tensor, y: Tensor | None) -> Tensor:
        return self._from_base(code.to(torch.float32), y)


def build(config: FlowConfig, spec: DataSpec) -> NormalizingFlow:
    return NormalizingFlow(config, spec)
