"""MADE over real vectors: a mixture of Gaussians for each number, given those before it in the order.

The conditionals are those of Uria et al. (2013), RNADE; with masks in place of a recursion they are the "MADE MoG" of
Papamakarios et al. (2017), Masked Autoregressive Flow for Density Estimation, sec. 4.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.model import Model, Sampler
from genpipe.networks.labels import one_hot
from genpipe.networks.made import MADE, by_order
from genpipe.noise import Noise
from genpipe.plugins.autoregressive import MADE_DENSITY
from genpipe.plugins.autoregressive.config import MADEConfig
from genpipe.plugins.autoregressive.orders import mean_over_orders, order_of_each, ranks_of_orders
from genpipe.plugins.autoregressive.tokens import draw

MIN_LOG_SCALE = -7.0  # of a component, in the data's standard deviations: duplicates have no width of their own
LOG_2PI = math.log(2 * math.pi)


class MADEDensity(Model):
    """p(z) is the mean over the orders of Π p(number | those before it in the order), in float32.

    In training each example is seen in one order, drawn anew; a sample is drawn in one order too.
    """

    config: MADEConfig

    def __init__(self, config: MADEConfig, spec: DataSpec) -> None:
        if spec.event == "image":
            raise UsageError(
                f"family 'made' models rows of real numbers, not the images of '{spec.name}', {spec.shape}: "
                + (
                    "model: {name: autoregressive, network: made, flatten: true} takes their levels as rows"
                    if spec.levels is not None
                    else "save them as rows, (N, D), or choose a family of images, such as flow"
                )
            )
        super().__init__(MADE_DENSITY, config, spec)
        self.num_classes = (spec.num_classes or 0) if config.conditional else 0
        self.made = MADE(
            ranks_of_orders(spec.num_dimensions, config.num_orders),
            1,
            3 * config.num_mixtures,
            hidden=config.hidden,
            num_blocks=config.num_layers,
            dropout=config.dropout,
            num_context=self.num_classes,
        )
        # Components start out side by side over ±2 deviations, and numbers hardly depend on each other.
        self.made.head.weight.data.mul_(0.1)
        spread = torch.linspace(-2, 2, config.num_mixtures) if config.num_mixtures > 1 else torch.zeros(1)
        width = torch.full_like(spread, -math.log(config.num_mixtures) / 2)
        self.made.head.bias.data.copy_(torch.cat([torch.zeros_like(spread), spread, width]).repeat(spec.num_dimensions))

    def _components(self, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, means and log-scales, (…, K) each, of what MADE gives, (…, 3 K)."""
        logits, means, log_scales = out.float().chunk(3, dim=-1)
        return logits, means, log_scales.clamp(min=MIN_LOG_SCALE)

    def _log_prob(self, z: Tensor, y: Tensor | None, orders: Tensor) -> Tensor:
        logits, means, log_scales = self._components(self.made(z[..., None], one_hot(y, self.num_classes), orders))
        e = (z[..., None] - means) * (-log_scales).exp()
        parts = logits.log_softmax(-1) - 0.5 * e.square() - log_scales - 0.5 * LOG_2PI
        return parts.logsumexp(-1).sum(1)

    def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
        """Nats per dimension."""
        orders = order_of_each(len(z), self.config.num_orders, noise, z.device)
        return {"loss": -self._log_prob(z, y, orders).mean() / self.spec.num_dimensions}

    def log_density(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        num_orders = self.config.num_orders
        return mean_over_orders(lambda orders: self._log_prob(z, y, orders), len(z), num_orders, z.device)

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        size = (num, self.spec.num_dimensions)
        u = noise.uniform("component", size, device=self.device)
        e = noise.normal("normal", size, device=self.device)
        orders = order_of_each(num, self.config.num_orders, noise, self.device)

        def drawn(which: int, rows: Tensor) -> Tensor:
            z = torch.zeros((len(rows), size[1]), device=self.device)
            labels = None if y is None else y[rows]
            drawing = self.made.drawing(len(rows), one_hot(labels, self.num_classes), which)
            for number in drawing.order.tolist():
                logits, means, log_scales = self._components(drawing.next(z[..., None]))
                chosen = draw(logits, u[rows, number])[:, None]
                scale = log_scales.gather(1, chosen)[:, 0].exp()
                z[:, number] = means.gather(1, chosen)[:, 0] + scale * e[rows, number]
            return z

        return by_order(orders, self.config.num_orders, drawn)


def build(config: MADEConfig, spec: DataSpec) -> MADEDensity:
    return MADEDensity(config, spec)
