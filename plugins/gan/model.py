"""The generative adversarial network: samples, and no likelihood."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genpipe.dataspec import DataSpec
from genpipe.model import Batch, Model, Optimizers, Sampler
from genpipe.noise import Noise
from genpipe.plugins.gan import GAN
from genpipe.plugins.gan.config import GANConfig
from genpipe.plugins.gan.networks import ImageGenerator, image_critic, mlp, normalised


class GenerativeAdversarialNetwork(Model):
    """A generator G of codes h ~ N(0, I), taught by a critic D that tells its samples from data.

    wgan_gp          D: E D(G(h)) − E D(z) + w E(‖∇D(ẑ)‖ − 1)², ẑ between data and sample; G: −E D(G(h))
                     (Gulrajani et al., 2017, eq. 3). D estimates a distance, which the curve "distance" shows.
    non_saturating   D: cross-entropy of a classifier; G: −E log σ(D(G(h))) (Goodfellow et al., 2014, sec. 3)
    hinge            D: E max(0, 1 − D(z)) + E max(0, 1 + D(G(h))); G: −E D(G(h)) (Miyato et al., 2018, eqs. 16–17)

    It draws samples and cannot say how probable an example is; nothing keeps the generator from leaving modes out.
    """

    config: GANConfig

    def __init__(self, config: GANConfig, spec: DataSpec) -> None:
        super().__init__(GAN, config, spec)
        self.generator: nn.Module
        if spec.event == "image":
            sizes = {"channels": config.channels, "num_halvings": config.num_halvings}
            self.generator = ImageGenerator(spec.shape, latent_dim=config.latent_dim, **sizes)
            critic = image_critic(spec.shape, **sizes)
        else:
            self.generator = mlp(config.latent_dim, spec.num_dimensions, config.hidden)
            critic = mlp(spec.num_dimensions, 1, config.hidden)
        normal = config.loss == "hinge" if config.spectral_norm is None else config.spectral_norm
        self.critic = normalised(critic) if normal else critic

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"generator": list(self.generator.parameters()), "critic": list(self.critic.parameters())}

    def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
        """The generator's step after each `num_critic_steps` of the critic's; one of the two per batch."""
        if step % (self.config.num_critic_steps + 1) == self.config.num_critic_steps:
            loss = self._generator_loss(self._judged(self._made(batch)))
            optimizers.minimize(loss, "generator")
            return {"loss": loss, "generator": loss.detach()}
        terms = self._critic_terms(batch.z, self._made(batch).detach(), batch.noise)
        optimizers.minimize(terms["loss"], "critic")
        return terms

    def _made(self, batch: Batch) -> Tensor:
        code = batch.noise.normal("code", (len(batch.z), self.config.latent_dim), device=batch.z.device)
        made: Tensor = self.generator(code)
        return made

    def _judged(self, z: Tensor) -> Tensor:
        """(B,) float32: the critic's opinion, the higher the more like data."""
        judged: Tensor = self.critic(z)
        return judged[:, 0].float()

    def _generator_loss(self, of_made: Tensor) -> Tensor:
        if self.config.loss == "non_saturating":
            return F.softplus(-of_made).mean()
        return -of_made.mean()

    def _critic_terms(self, z: Tensor, made: Tensor, noise: Noise) -> dict[str, Tensor]:
        real, fake = self._judged(z), self._judged(made)
        distance = (real - fake).detach().mean()
        if self.config.loss == "non_saturating":
            loss = (F.softplus(-real) + F.softplus(fake)).mean()
        elif self.config.loss == "hinge":
            loss = (F.relu(1 - real) + F.relu(1 + fake)).mean()
        else:
            penalty = self._penalty(z, made, noise)
            loss = (fake - real).mean() + self.config.gradient_penalty * penalty
            return {"loss": loss, "distance": distance, "penalty": penalty.detach()}
        return {"loss": loss, "distance": distance}

    def _penalty(self, z: Tensor, made: Tensor, noise: Noise) -> Tensor:
        """E(‖∇D‖ − 1)² on lines from data to samples, one place of each line."""
        share = noise.uniform("line", (len(z), *[1] * (z.ndim - 1)), device=z.device)
        between = torch.lerp(z, made.to(z.dtype), share).requires_grad_()
        # In full precision: the square root of a sum of squares of tiny numbers is lost in bfloat16.
        with torch.autocast(z.device.type, enabled=False):
            (slope,) = torch.autograd.grad(self._judged(between).sum(), between, create_graph=True)
        norm = (slope.flatten(1).square().sum(dim=1) + 1e-12).sqrt()
        return (norm - 1).square().mean()

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        return self.reconstruct(noise.normal("code", (num, self.config.latent_dim), device=self.device), y)

    def reconstruct(self, code: Tensor, y: Tensor | None) -> Tensor:
        z: Tensor = self.generator(code)
        return z.float()


def build(config: GANConfig, spec: DataSpec) -> GenerativeAdversarialNetwork:
    return GenerativeAdversarialNetwork(config, spec)
