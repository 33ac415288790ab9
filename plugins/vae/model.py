"""The variational autoencoders: bound, samples, codes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from genpipe import ops
from genpipe.components import Family
from genpipe.dataspec import DataSpec
from genpipe.likelihoods.annealing import Annealing
from genpipe.likelihoods.importance import importance_weighted
from genpipe.likelihoods.standard_error import standard_error
from genpipe.model import Batch, Estimator, LogProb, Model, Optimizers, Sampler
from genpipe.networks.coders import build_decoder, build_encoder
from genpipe.noise import Noise
from genpipe.plugins.vae import DISCRETE_VAE, VAE
from genpipe.plugins.vae.config import DiscreteVAEConfig, ObjectiveConfig, VAEConfig
from genpipe.plugins.vae.outputs import Output, discrete_output, gaussian_output


class VariationalAutoencoder(Model):
    """p(h) = N(0, I), p(z | h) as self.output says, q(h | z) = N(mean, e^log_var) (Kingma & Welling, 2014).

    Conditional models have the label at both networks' first layer: q(h | z, y) and p(z | h, y) (Sohn et al., 2015).
    Samplers:

    draw   of the density, or of the masses, that `log_prob` bounds.
    mean   the mean of p(z | h) for a code from the prior: what a figure shows. What scatters about the mean is left
           out, so these are no draws of what `log_prob` bounds.
    """

    config: ObjectiveConfig
    mean_kl: Tensor

    def __init__(
        self, family: Family, config: ObjectiveConfig, spec: DataSpec, output: Callable[[Any, DataSpec], Output]
    ) -> None:
        super().__init__(family, config, spec)
        self.output, num_classes = output(config, spec), spec.num_classes if self.conditional else None
        self.encoder = build_encoder(config, spec, 2 * config.latent_dim, num_classes)
        self.decoder = build_decoder(config, spec, config.latent_dim, self.output.num_maps, num_classes)
        if config.free_nats > 0:
            # Where a batch begins, all of its workers know what the last one's codes had.
            self.register_train_state("mean_kl", torch.full((config.latent_dim,), math.inf))

    def posterior(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(h | z), (B, latent_dim) each, float32."""
        mean, log_var = self.encoder(z, y).float().chunk(2, dim=1)
        return mean, log_var.clamp(-20, 20)

    def maps(self, code: Tensor, y: Tensor | None = None) -> Tensor:
        """What `output` makes p(z | h) of, (B, output.num_maps, …), float32."""
        maps: Tensor = self.decoder(code, y).float()
        return maps

    # -- training -------------------------------------------------------------------------------------------

    def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
        return self.terms(z, y, noise, self.config.beta)

    def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
        warmup = self.config.kl_warmup_steps
        beta = self.config.beta * min(1.0, (step + 1) / warmup) if warmup else self.config.beta
        terms = self.terms(batch.z, batch.y, batch.noise, beta, optimizers)
        optimizers.minimize(terms["loss"])
        return terms

    def terms(
        self, z: Tensor, y: Tensor | None, noise: Noise, beta: float, optimizers: Optimizers | None = None
    ) -> dict[str, Tensor]:
        """Nats per dimension: −ELBO with its KL term weighed by beta (Higgins et al., 2017, eq. 4), or another
        objective's bound."""
        config, dimensions = self.config, self.spec.num_dimensions
        mean, log_var = self.posterior(z, y)
        if config.objective != "elbo":
            return self._weighted_terms(z, y, noise, mean, log_var)
        nll, kl = self.bound(z, y, noise, mean, log_var)
        for k in range(1, config.num_codes):
            nll = nll + self.bound(z, y, noise.child(str(k)), mean, log_var)[0]
        nll = nll / config.num_codes
        counted = self._beyond_free(mean, log_var, optimizers) if config.free_nats > 0 else kl
        return {
            "loss": ops.elbo_loss(nll, counted, beta=beta) / dimensions,
            "reconstruction": nll.detach().mean() / dimensions,
            "kl": kl.detach().mean() / dimensions,
        }

    def _beyond_free(self, mean: Tensor, log_var: Tensor, optimizers: Optimizers | None) -> Tensor:
        """Free bits, a scalar: Σ_j max(free_nats, KL_j) over the numbers of a code.

        Departs from Kingma et al. (2016), eq. 15, in that the maximum is decided by the last batch's mean: parts of
        this one cannot know its own.
        """
        if optimizers is not None:
            with torch.no_grad():
                optimizers.sum("kl", 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(0))
            optimizers.sum("examples", mean.new_full((), len(mean)))
        return ops.free_bits_kl(mean, log_var, self.config.free_nats, batch_kl=self.mean_kl)

    def after_step(self, totals: Mapping[str, Tensor], step: int) -> None:
        if self.config.free_nats > 0:
            self.mean_kl.copy_(totals["kl"] / totals["examples"])

    def _weighted_terms(
        self, z: Tensor, y: Tensor | None, noise: Noise, mean: Tensor, log_var: Tensor
    ) -> dict[str, Tensor]:
        """The bound of K codes under one logarithm (Burda et al., 2016, eq. 8), per dimension; for "dreg" with the
        gradient of Tucker et al. (2019), eq. 8. effective_codes: 1 / Σ w², of the normalised weights."""
        num_codes, doubly = self.config.num_codes, self.config.objective == "dreg"
        e = noise.normal("codes", (len(z), num_codes, self.config.latent_dim), device=z.device).transpose(0, 1)
        codes = mean + (0.5 * log_var).exp() * e  # (K, B, D)
        if doubly:
            mean, log_var = mean.detach(), log_var.detach()
        log_q = -0.5 * ((codes - mean).square() * (-log_var).exp() + log_var).sum(2)
        log_prior = -0.5 * codes.square().sum(2)  # log 2π is in both, and cancels
        log_likelihood = torch.stack([self.log_likelihood(z, code, y) for code in codes])
        log_weights = log_likelihood + log_prior - log_q
        bound = ops.dreg_bound(log_weights, codes) if doubly else ops.log_mean_exp(log_weights)
        return {
            "loss": -bound.mean() / self.spec.num_dimensions,
            "effective_codes": 1 / log_weights.detach().softmax(0).square().sum(0).mean(),
        }

    # -- likelihood -----------------------------------------------------------------------------------------

    def bound(self, z: Tensor, y: Tensor | None, noise: Noise, mean: Tensor, log_var: Tensor) -> tuple[Tensor, Tensor]:
        """−log p(z | h) of one code per example, and KL of q(h | z) from the prior, (B,) each: their sum is −ELBO
        (eq. 3). mean, log_var: of q."""
        code, kl = ops.gaussian_reparam(mean, log_var, noise.key("code"), noise.first_index)
        return self.output.nll(self.maps(code, y), z), kl

    def log_density(self, z: Tensor, y: Tensor | None, noise: Noise) -> LogProb:
        """The bound that was trained, (B,): the ELBO, as the mean over `num_elbo_samples` codes with the standard error of
        that mean, or the importance-weighted bound of `num_codes`, whose posterior is none for the ELBO."""
        posterior = self.posterior(z, y)
        if self.config.objective != "elbo":
            return self._importance_weighted(z, y, noise, *posterior, num_samples=self.config.num_codes)
        terms = [self.bound(z, y, noise.child(str(k)), *posterior) for k in range(self.config.num_elbo_samples)]
        draws = torch.stack([-nll - kl for nll, kl in terms])
        return LogProb(draws.mean(dim=0), "lower_bound", standard_error(draws))

    def estimate_log_density(self, z: Tensor, y: Tensor | None, noise: Noise, estimator: Estimator) -> LogProb:
        """Tighter bounds (B,) than the ELBO:

        iwae   of num_samples codes under one logarithm (Burda et al., 2016, eq. 8).
        ais    of num_samples chains that are annealed over num_steps temperatures from prior to posterior (Wu et al.,
               2017). Its check is how far it lies below an upper bound, on a draw of the model's own
               for each example, whose code is known: of real data there is no upper bound.
        """
        if estimator.name == "iwae":
            assert estimator.num_samples is not None
            return self._importance_weighted(z, y, noise, *self.posterior(z, y), num_samples=estimator.num_samples)
        below = self._annealing(z, y, noise, estimator)
        answer = below.lower_bound(below.pilot())
        own_noise = noise.child("own")
        code = own_noise.normal("prior", (len(z), self.config.latent_dim), device=self.device)
        own = self._annealing(self.emit(code, y, own_noise), y, own_noise, estimator)
        sizes = own.pilot()
        return replace(answer, check=own.upper_bound(code, sizes).nats - own.lower_bound(sizes).nats)

    def _importance_weighted(
        self, z: Tensor, y: Tensor | None, noise: Noise, mean: Tensor, log_var: Tensor, *, num_samples: int
    ) -> LogProb:
        return importance_weighted(lambda k: self._log_weight(z, y, mean, log_var, noise.child(str(k))), num_samples)

    def _log_weight(self, z: Tensor, y: Tensor | None, mean: Tensor, log_var: Tensor, noise: Noise) -> Tensor:
        """log p(z, h) − log q(h | z), (B,), of a code h drawn from q."""
        e = noise.normal("code", tuple(mean.shape), device=z.device)
        code = mean + (0.5 * log_var).exp() * e
        surplus = 0.5 * (e.square() + log_var - code.square()).sum(1)
        return surplus + self.log_likelihood(z, code, y)

    def _annealing(self, z: Tensor, y: Tensor | None, noise: Noise, estimator: Estimator) -> Annealing:
        def log_likelihood(codes: Tensor) -> Tensor:
            num_chains = codes.shape[1]
            labels = None if y is None else y.repeat_interleave(num_chains)
            repeated = z.repeat_interleave(num_chains, dim=0)
            nats = self.log_likelihood(repeated, codes.float().flatten(0, 1), labels)
            return nats.double().unflatten(0, (len(z), num_chains))

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

    # -- samples and codes ----------------------------------------------------------------------------------

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        code = noise.normal("prior", (num, self.config.latent_dim), device=self.device)
        return self.reconstruct(code, y) if sampler.name == "mean" else self.emit(code, y, noise)

    def infer(self, z: Tensor, y: Tensor | None) -> Tensor:
        """The mean of q(h | z), (B, latent_dim)."""
        return self.posterior(z, y)[0]

    def reconstruct(self, code: Tensor, y: Tensor | None) -> Tensor:
        return self.output.mean(self.maps(code, y))

    def draw_code(self, z: Tensor, y: Tensor | None, noise: Noise) -> tuple[Tensor, Tensor]:
        mean, log_var = self.posterior(z, y)
        e = noise.normal("code", tuple(mean.shape), device=z.device)
        log_q = -0.5 * (e.square() + log_var + math.log(2 * math.pi)).sum(1)
        return mean + (0.5 * log_var).exp() * e, log_q

    def log_likelihood(self, z: Tensor, code: Tensor, y: Tensor | None) -> Tensor:
        return -self.output.nll(self.maps(code, y), z)

    def emit(self, code: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        return self.output.draw(self.maps(code, y), noise)


def build(config: VAEConfig, spec: DataSpec) -> VariationalAutoencoder:
    return VariationalAutoencoder(VAE, config, spec, gaussian_output)


def build_discrete(config: DiscreteVAEConfig, spec: DataSpec) -> VariationalAutoencoder:
    return VariationalAutoencoder(DISCRETE_VAE, config, spec, discrete_output)
