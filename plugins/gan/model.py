"""The generative adversarial network: samples, and no likelihood."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genpipe.dataspec import DataSpec
from genpipe.model import Batch, Model, Optimizers, Sampler
from genpipe.networks.labels import one_hot
from genpipe.noise import Noise
from genpipe.plugins.gan import GAN
from genpipe.plugins.gan.config import GANConfig
from genpipe.plugins.gan.networks import Critic, ImageGenerator, image_features, normalised, vector_features


class GenerativeAdversarialNetwork(Model):
    """A generator G of codes h ~ N(0, I), taught by a critic D that tells its samples from data.

    wgan_gp          D: E D(G(h)) − E D(z) + w E(‖∇D(ẑ)‖ − 1)², ẑ between data and sample; G: −E D(G(h))
                     (Gulrajani et al., 2017, eq. 3). D estimates a distance, which the curve "distance" shows.
    non_saturating   D: cross-entropy of a classifier; G: −E log σ(D(G(h))) (Goodfellow et al., 2014, sec. 3)
    hinge            D: E max(0, 1 − D(z)) + E max(0, 1 + D(G(h))); G: −E D(G(h)) (Miyato et al., 2018, eqs. 16–17)

    It draws samples and cannot say how probable an example is; nothing keeps the generator from leaving modes out.
    Where the model is conditional, the generator takes the label beside the code, and the critic judges whether an example
    is one of its class.
    """

    config: GANConfig

    def __init__(self, config: GANConfig, spec: DataSpec) -> None:
        super().__init__(GAN, config, spec)
        self.num_classes = (spec.num_classes or 0) if config.conditional else 0
        num_in = config.latent_dim + self.num_classes
        self.generator: nn.Module
        features: nn.Module
        if spec.event == "image":
            sizes = {"channels": config.channels, "num_halvings": config.num_halvings}
            self.generator = ImageGenerator(spec.shape, latent_dim=num_in, **sizes)
            features, num_features = image_features(spec.shape, **sizes)
        else:
            num_features = config.hidden
            head = nn.Linear(num_features, spec.num_dimensions)
            self.generator = nn.Sequential(vector_features(num_in, config.hidden), head)
            features = vector_features(spec.num_dimensions, config.hidden)
        critic = Critic(features, num_features, self.num_classes)
        normal = config.loss == "hinge" if config.spectral_norm is None else config.spectral_norm
        self.critic = normalised(critic) if normal else critic

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"generator": list(self.generator.parameters()), "critic": list(self.critic.parameters())}

    def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
        """The generator's step after each `num_critic_steps` of the critic's; one of the two per batch."""
        if step % (self.config.num_critic_steps + 1) == self.config.num_critic_steps:
            loss = self._generator_loss(self._judged(self._made(batch), batch.y))
            optimizers.minimize(loss, "generator")
            return {"loss": loss, "generator": loss.detach()}
        with torch.no_grad():
            made = self._made(batch)
        terms = self._critic_terms(batch.z, made, batch.y, batch.noise)
        optimizers.minimize(terms["loss"], "critic")
        return terms

    def _made(self, batch: Batch) -> Tensor:
        """Samples of the batch's own classes."""
        code = batch.noise.normal("code", (len(batch.z), self.config.latent_dim), device=batch.z.device)
        return self._generated(code, batch.y)

    def _generated(self, code: Tensor, y: Tensor | None) -> Tensor:
        label = one_hot(y, self.num_classes)
        made: Tensor = self.generator(code if label is None else torch.cat([code, label], dim=1))
        return made

    def _judged(self, z: Tensor, y: Tensor | None) -> Tensor:
        """(B,) float32: the critic's opinion, the higher the more like data."""
        judged: Tensor = self.critic(z, y)
        return judged.float()

    def _generator_loss(self, of_made: Tensor) -> Tensor:
        if self.config.loss == "non_saturating":
            return F.softplus(-of_made).mean()
        return -of_made.mean()

    def _critic_terms(self, z: Tensor, made: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
        # A pass each: what pulls the last bias up and down then cancels to the bit, and Adam does not make steps of rounding.
        real, fake = self._judged(z, y), self._judged(made, y)
        distance = (real - fake).detach().mean()
        if self.config.loss == "non_saturating":
            loss = (F.softplus(-real) + F.softplus(fake)).mean()
        elif self.config.loss == "hinge":
            loss = (F.relu(1 - real) + F.relu(1 + fake)).mean()
        else:
            penalty = self._penalty(z, made, y, noise)
            loss = (fake - real).mean() + self.config.gradient_penalty * penalty
            return {"loss": loss, "distance": distance, "penalty": penalty.detach()}
        return {"loss": loss, "distance": distance}

    def _penalty(self, z: Tensor, made: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        """E(‖∇D‖ − 1)² on lines from data to samples, one place of each line."""
        share = noise.uniform("line", (len(z), *[1] * (z.ndim - 1)), device=z.device)
        between = torch.lerp(z, made.to(z.dtype), share).requires_grad_()
        # In full precision: the square root of a sum of squares of tiny numbers is lost in bfloat16.
        with torch.autocast(z.device.type, enabled=False):
            (slope,) = torch.autograd.grad(self._judged(between, y).sum(), between, create_graph=True)
        norm = (slope.flatten(1).square().sum(dim=1) + 1e-12).sqrt()
        return (norm - 1).square().mean()

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        return self.reconstruct(noise.normal("code", (num, self.config.latent_dim), device=self.device), y)

    def code_shape(self) -> tuple[int, ...]:
        return (self.config.latent_dim,)

    def reconstruct(self, code: Tensor, y: Tensor | None) -> Tensor:
        return self._generated(code.to(torch.float32), y).float()


def build(config: GANConfig, spec: DataSpec) -> GenerativeAdversarialNetwork:
    return GenerativeAdversarialNetwork(config, spec)
