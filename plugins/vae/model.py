"""The variational autoencoder: bound, samples, codes."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from genpipe import ops
from genpipe.dataspec import DataSpec
from genpipe.likelihoods.annealing import Annealing
from genpipe.likelihoods.importance import importance_weighted
from genpipe.model import Estimator, LogProb, Model, Sampler
from genpipe.noise import Noise
from genpipe.plugins.vae import VAE
from genpipe.plugins.vae.config import VAEConfig
from genpipe.plugins.vae.network import bounded_below, build_coders


class VariationalAutoencoder(Model):
    """p(h) = N(0, I), p(z | h) = N(mean(h), exp(log_var(h))), q(h | z) Gaussian (Kingma & Welling, 2014).

    The decoder's variance is learned per output (Rybkin et al., 2021, sec. 3.1), so the bound is in nats of a
    real density and no reconstruction weight is left to choose. Samplers:

    mean   gives the decoder's mean for a code from the prior: what a figure shows. Its variance is left
           out, so these are not draws from the density that `log_prob` bounds.
    draw   adds the decoder's noise: draws from that density.
    """

    config: VAEConfig

    def __init__(self, config: VAEConfig, spec: DataSpec) -> None:
        super().__init__(VAE, config, spec)
        self.encoder, self.decoder = build_coders(
            spec.shape,
            channels=config.channels,
            num_halvings=config.num_halvings,
            hidden=config.hidden,
            latent_dim=config.latent_dim,
            dropout=config.dropout,
        )
        # Integers are dequantised with uniform noise one bin wide, 2 / levels in network units: no density
        # of the data can be narrower than that, and without the bound empty pixels would run away.
        bin_std = 2 / spec.levels / math.sqrt(12) if spec.levels is not None else 0.0
        self.min_log_var = 2 * math.log(max(config.min_std, bin_std))

    def posterior(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(h | z), (B, latent_dim) each, float32."""
        mean, log_var = self.encoder(z)
        return mean.float(), log_var.float().clamp(-20, 20)

    def likelihood(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of p(z | h), (B, *event) each, float32."""
        mean, log_var = self.decoder(code)
        return mean.float(), bounded_below(log_var.float(), self.min_log_var)

    def bound(self, z: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood and KL of one code per example, (B,) each: their sum is −ELBO (eq. 3)."""
        mean, log_var = self.posterior(z)
        code, kl = ops.gaussian_reparam(mean, log_var, noise.key("code"), noise.first_index)
        decoded, decoded_log_var = self.likelihood(code)
        return ops.gaussian_nll(decoded, decoded_log_var, z), kl

    def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
        """Nats per dimension: reconstruction + beta · KL (Higgins et al., 2017, eq. 4)."""
        nll, kl = self.bound(z, noise)
        dimensions = self.spec.num_dimensions
        loss = ops.elbo_loss(nll, kl, beta=self.config.beta) / dimensions
        return {
            "loss": loss,
            "reconstruction": nll.detach().mean() / dimensions,
            "kl": kl.detach().mean() / dimensions,
        }

    def log_density(self, z: Tensor, y: Tensor | None, noise: Noise) -> LogProb:
        """ELBO (B,), the mean over `num_elbo_samples` codes, with the standard error of that mean."""
        count = self.config.num_elbo_samples
        draws = torch.stack([-sum(self.bound(z, noise.child(str(k))), torch.zeros(())) for k in range(count)])
        error = draws.std(dim=0) / math.sqrt(count) if count > 1 else None
        return LogProb(draws.mean(dim=0), "lower_bound", error)

    def estimate_log_density(self, z: Tensor, y: Tensor | None, noise: Noise, estimator: Estimator) -> LogProb:
        """Tighter bounds (B,) than the ELBO:

        iwae   of num_samples codes under one logarithm (Burda et al., 2016, eq. 8).
        ais    of num_samples chains that are annealed over num_steps temperatures from prior to posterior (Wu et al.,
               2017). Its check is how far it lies below an upper bound, on a draw of the model's own
               for each example, whose code is known: of real data there is no upper bound.
        """
        if estimator.name == "iwae":
            mean, log_var = self.posterior(z)
            assert estimator.num_samples is not None
            return importance_weighted(
                lambda k: self._log_weight(z, mean, log_var, noise.child(str(k))), estimator.num_samples
            )
        below = self._annealing(z, noise, estimator)
        answer = below.lower_bound(below.pilot())
        own_noise = noise.child("own")
        code = own_noise.normal("prior", (len(z), self.config.latent_dim), device=self.device)
        own = self._annealing(self._draw(*self.likelihood(code), own_noise), own_noise, estimator)
        sizes = own.pilot()
        return replace(answer, check=own.upper_bound(code, sizes).nats - own.lower_bound(sizes).nats)

    def _log_weight(self, z: Tensor, mean: Tensor, log_var: Tensor, noise: Noise) -> Tensor:
        """log p(z, h) − log q(h | z), (B,), of a code h drawn from q."""
        e = noise.normal("code", tuple(mean.shape), device=z.device)
        code = mean + (0.5 * log_var).exp() * e
        decoded, decoded_log_var = self.likelihood(code)
        surplus = 0.5 * (e.square() + log_var - code.square()).sum(1)
        return surplus - ops.gaussian_nll(decoded, decoded_log_var, z)

    def _annealing(self, z: Tensor, noise: Noise, estimator: Estimator) -> Annealing:
        def log_likelihood(codes: Tensor) -> Tensor:
            num_chains = codes.shape[1]
            mean, log_var = self.likelihood(codes.float().flatten(0, 1))
            nll = ops.gaussian_nll(mean, log_var, z.repeat_interleave(num_chains, dim=0))
            return -nll.double().unflatten(0, (len(z), num_chains))

        assert estimator.num_steps is not None
        assert estimator.num_samples is not None
        return Annealing(
            log_likelihood=log_likelihood,
            num_examples=len(z),
            num_dimensions=self.config.latent_dim,
            noise=noise,
            num_steps=estimator.num_steps,
            num_chains=estimator.num_samples,
            device=z.device,
        )

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        code = noise.normal("prior", (num, self.config.latent_dim), device=self.device)
        mean, log_var = self.likelihood(code)
        if sampler.name == "mean":
            return mean
        return self._draw(mean, log_var, noise)

    @staticmethod
    def _draw(mean: Tensor, log_var: Tensor, noise: Noise) -> Tensor:
        return mean + (0.5 * log_var).exp() * noise.normal("decoder", tuple(mean.shape), device=mean.device)

    def infer(self, z: Tensor, y: Tensor | None) -> Tensor:
        """The mean of q(h | z), (B, latent_dim)."""
        return self.posterior(z)[0]

    def reconstruct(self, code: Tensor, y: Tensor | None) -> Tensor:
        return self.likelihood(code)[0]

    def draw_code(self, z: Tensor, y: Tensor | None, noise: Noise) -> tuple[Tensor, Tensor]:
        mean, log_var = self.posterior(z)
        e = noise.normal("code", tuple(mean.shape), device=z.device)
        log_q = -0.5 * (e.square() + log_var + math.log(2 * math.pi)).sum(1)
        return mean + (0.5 * log_var).exp() * e, log_q

    def log_likelihood(self, z: Tensor, code: Tensor, y: Tensor | None) -> Tensor:
        return -ops.gaussian_nll(*self.likelihood(code), z)

    def emit(self, code: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        return self._draw(*self.likelihood(code), noise)


def build(config: VAEConfig, spec: DataSpec) -> VariationalAutoencoder:
    return VariationalAutoencoder(config, spec)
