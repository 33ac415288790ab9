"""The autoencoder: codes and reconstructions; samples by a Gaussian of the codes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.model import Batch, Model, Optimizers, Sampler
from genpipe.networks.coders import build_decoder, build_encoder
from genpipe.noise import Noise
from genpipe.plugins.autoencoder import AUTOENCODER
from genpipe.plugins.autoencoder.config import AutoencoderConfig

MEMORY = 100  # batches that the codes' moments are of, roughly


class Autoencoder(Model):
    """Minimises E ‖z − decoder(encoder(z + noise))‖², without noise (Hinton & Salakhutdinov, 2006) or with it, which
    asks for more than a copy of the input (Vincent et al., 2008, sec. 2.3).

    Nothing in that says where codes lie, so there is no p(z): no likelihood, and samples by a guess alone. Samplers:

    gaussian          the Gaussian with the training codes' mean and covariance, fitted beside training (after Ghosh et
                      al., 2020, sec. 4): as good as codes are Gaussian. Between clusters of codes it finds what is no data.
    standard_normal   N(0, I), as if there were a VAE's KL term: what its absence looks like.
    """

    config: AutoencoderConfig
    code_mean: Tensor
    code_square: Tensor

    def __init__(self, config: AutoencoderConfig, spec: DataSpec) -> None:
        super().__init__(AUTOENCODER, config, spec)
        self.encoder = build_encoder(config, spec, config.latent_dim)
        self.decoder = build_decoder(config, spec, config.latent_dim, spec.shape[0])
        self.register_buffer("code_mean", torch.zeros(config.latent_dim))
        self.register_buffer("code_square", torch.eye(config.latent_dim))  # E c cᵀ

    def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
        """The squared error per dimension, network units."""
        return {"loss": self._error(z, self._code_of_noisy(z, noise))}

    def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
        code = self._code_of_noisy(batch.z, batch.noise)
        loss = self._error(batch.z, code)
        optimizers.minimize(loss)
        detached = code.detach().float()
        optimizers.sum("codes", detached.sum(0))
        with torch.autocast(code.device.type, enabled=False):  # a variance is a small difference of these
            optimizers.sum("squares", detached.T @ detached)
        optimizers.sum("examples", detached.new_full((), len(code)))
        return {"loss": loss}

    def after_step(self, totals: Mapping[str, Tensor], step: int) -> None:
        weight = max(1 / (step + 1), 1 / MEMORY)
        self.code_mean.lerp_(totals["codes"] / totals["examples"], weight)
        self.code_square.lerp_(totals["squares"] / totals["examples"], weight)

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        e = noise.normal("code", (num, self.config.latent_dim), device=self.device)
        if sampler.name == "standard_normal":
            return self.reconstruct(e, None)
        covariance = self.code_square - torch.outer(self.code_mean, self.code_mean)
        variances, axes = torch.linalg.eigh(covariance.double())
        root = (axes * variances.clamp(min=0).sqrt()) @ axes.T  # of a covariance that may have no inverse
        return self.reconstruct(self.code_mean + e @ root.float(), None)

    def infer(self, z: Tensor, y: Tensor | None) -> Tensor:
        """The code of z itself, (B, latent_dim)."""
        code: Tensor = self.encoder(z)
        return code

    def reconstruct(self, code: Tensor, y: Tensor | None) -> Tensor:
        z: Tensor = self.decoder(code)
        return z

    def _code_of_noisy(self, z: Tensor, noise: Noise) -> Tensor:
        if self.config.noise_std > 0:
            z = z + self.config.noise_std * noise.normal("corruption", tuple(z.shape), device=z.device)
        return self.infer(z, None)

    def _error(self, z: Tensor, code: Tensor) -> Tensor:
        return torch.nn.functional.mse_loss(self.reconstruct(code, None), z)


def build(config: AutoencoderConfig, spec: DataSpec) -> Autoencoder:
    return Autoencoder(config, spec)
