"""The vector-quantised autoencoder: tokens, images from tokens, and the bound under even tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from genpipe import ops
from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.likelihoods.logistic_mixture import draw_levels, mean_levels, num_maps
from genpipe.model import Batch, Model, Optimizers, Sampler
from genpipe.networks.convolutional import halved
from genpipe.noise import Noise
from genpipe.plugins.vqvae import VQVAE
from genpipe.plugins.vqvae import codebook as entries
from genpipe.plugins.vqvae.config import VQVAEConfig
from genpipe.plugins.vqvae.network import Decoder, Encoder


class VectorQuantisedAutoencoder(Model):
    """k(x) = argmin_k ‖E(x) − e_k‖ at each of h × w places, and P(x | k) by a decoder of e_k (van den Oord et al., 2017).

    P(x | k) is a mixture of discretised logistics for each pixel, so it is a probability of whole numbers, and that of
    the tokens is uniform, 1 / K each, as in training (sec. 3.2). P(x) = Σ_k P(x | k) P(k) has at least the one term
    k = k(x): log P(x | k(x)) − h w log K is a lower bound of log P(x), and what `log_prob` gives. Samples of even tokens
    look like nothing: a prior that is learned over the tokens makes a model of this, see the pipelines' section `coder`.

    What the encoder learns comes through the tokens by the straight-through estimator, the codebook is a running mean
    of the outputs that fall to each entry (appendix A.1), and an entry that hardly any fall to is moved to where one
    does (Dhariwal et al., 2020, sec. 3.1). State: codebook (K, D).
    """

    config: VQVAEConfig
    codebook: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, config: VQVAEConfig, spec: DataSpec) -> None:
        super().__init__(VQVAE, config, spec)
        assert spec.levels is not None
        if spec.shape[0] not in (1, 3):
            raise UsageError(
                f"family 'vqvae' models images of 1 or 3 channels, and those of '{spec.name}' have {spec.shape[0]}"
            )
        self.levels, self.num_channels = spec.levels, spec.shape[0]
        sizes = {
            "channels": config.channels,
            "num_halvings": config.num_halvings,
            "num_blocks": config.num_blocks,
            "code_dim": config.code_dim,
        }
        self.encoder = Encoder(spec.shape[0], **sizes, dropout=config.dropout)
        num_out = num_maps(spec.shape[0]) * config.num_mixtures
        self.decoder = Decoder(spec.shape, num_out, **sizes, dropout=config.dropout)
        self._code_shape = (1, *halved(spec.shape, config.num_halvings))
        self.register_buffer("codebook", torch.randn(config.num_codes, config.code_dim))
        self.register_train_state("counts", torch.zeros(config.num_codes))
        self.register_train_state("sums", torch.zeros(config.num_codes, config.code_dim))

    # -- tokens ---------------------------------------------------------------------------------------------

    def tokens(self, outputs: Tensor) -> Tensor:
        """(B, 1, h, w) int64, the entries nearest to the encoder's outputs (B, D, h, w)."""
        chosen = entries.nearest(_vectors(outputs), self.codebook)
        return chosen.reshape(len(outputs), *self._code_shape)

    def look_up(self, tokens: Tensor) -> Tensor:
        """Entries (B, D, h, w) of tokens (B, 1, h, w)."""
        return F.embedding(tokens[:, 0].long(), self.codebook).movedim(-1, 1)

    def infer(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Tokens (B, 1, h, w), int64 in 0 … num_codes − 1."""
        return self.tokens(self.encoder(z).float())

    def reconstruct(self, code: Tensor, y: Tensor | None) -> Tensor:
        """The image expected of tokens."""
        return self.units.to_network(mean_levels(self.decode_tokens(code), self.num_channels, self.levels), None)

    def decode_tokens(self, tokens: Tensor) -> Tensor:
        """Parameters (B, M·K, H, W) of the pixels' mixtures."""
        return self.decoder(self.look_up(tokens))

    def nll(self, params: Tensor, z: Tensor) -> Tensor:
        """−log P(x | tokens), (B,), nats."""
        return ops.discretized_logistic_mixture_nll(params, self.units.from_network(z).long(), levels=self.levels)

    # -- what another model's prior over tokens asks ----------------------------------------------------------

    def code_shape(self) -> tuple[int, ...]:
        return self._code_shape

    def code_levels(self) -> int:
        return self.config.num_codes

    def draw_code(self, z: Tensor, y: Tensor | None, noise: Noise) -> tuple[Tensor, Tensor]:
        """The tokens of z: nothing is drawn."""
        tokens = self.infer(z, y)
        return tokens, torch.zeros(len(tokens), device=tokens.device)

    def log_likelihood(self, z: Tensor, code: Tensor, y: Tensor | None) -> Tensor:
        return -self.nll(self.decode_tokens(code), z)

    def emit(self, code: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        levels = draw_levels(self.decode_tokens(code), self.num_channels, self.levels, noise)
        return self.units.to_network(levels, None)

    # -- training -------------------------------------------------------------------------------------------

    def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
        """One step on the loss, and what the codebook is to learn of the whole batch."""
        outputs = self.encoder(batch.z).float()
        tokens = self.tokens(outputs)
        terms = self._terms(batch.z, outputs, tokens)
        optimizers.minimize(terms["loss"])
        vectors = _vectors(outputs.detach())
        counts, sums = entries.usage(tokens.flatten(), vectors, self.config.num_codes)
        optimizers.sum("counts", counts)
        optimizers.sum("sums", sums)
        place = batch.noise.randint("place", math.prod(self._code_shape), (len(outputs),), device=outputs.device)
        rows = torch.arange(len(outputs), device=outputs.device)
        optimizers.rows("candidates", outputs.detach().flatten(2)[rows, :, place])
        # Of the running counts, which are the same on all workers; that of a batch is no mean over its parts.
        return {**terms, "perplexity": entries.perplexity(self.counts)}

    def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
        outputs = self.encoder(z).float()
        return self._terms(z, outputs, self.tokens(outputs))

    def _terms(self, z: Tensor, outputs: Tensor, tokens: Tensor) -> dict[str, Tensor]:
        """Nats per dimension, and the encoder's distance from the entries (eq. 3 without its second term)."""
        chosen = self.look_up(tokens)
        through = outputs + (chosen - outputs).detach()
        reconstruction = self.nll(self.decoder(through), z).mean() / self.spec.num_dimensions
        commitment = (outputs - chosen).square().mean()
        return {
            "loss": reconstruction + self.config.commitment * commitment,
            "reconstruction": reconstruction.detach(),
            "commitment": commitment.detach(),
        }

    def after_step(self, totals: Mapping[str, Tensor], step: int) -> None:
        """The codebook's running means (eq. 6–8), and new places for its dead entries."""
        decay, counts = self.config.codebook_decay, totals["counts"]
        entries.moving_average(self.counts, counts, decay)
        entries.moving_average(self.sums, totals["sums"], decay)
        if self.config.revival_share > 0:
            self._revive(totals["candidates"], (1 - decay) * counts.sum().double())
        counts = self.counts[:, None]
        self.codebook.copy_(torch.where(counts > 0, self.sums / counts, self.codebook))

    def _revive(self, candidates: Tensor, least: Tensor) -> None:
        """Dead entries become candidates (N, D), one each. least: of the running count of all entries, ()."""
        places, dead = entries.least_used(self.counts, self.config.revival_share, len(candidates))
        # As much use as an even share, so that the entry stays for a while whatever falls to it.
        even = self.counts.sum().maximum(least.float()) / self.config.num_codes
        self.counts[places] = torch.where(dead, even, self.counts[places])
        self.sums[places] = torch.where(dead[:, None], candidates[: len(places)] * even, self.sums[places])

    # -- the model with even tokens -------------------------------------------------------------------------

    def log_density(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        """log P(x | k(x)) − h w log K, (B,)."""
        num_tokens = math.prod(self._code_shape)
        return self.log_likelihood(z, self.infer(z, y), y) - num_tokens * math.log(self.config.num_codes)

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        tokens = noise.randint("tokens", self.config.num_codes, (num, *self._code_shape), device=self.device)
        return self.emit(tokens, y, noise)


def _vectors(outputs: Tensor) -> Tensor:
    """(B, D, h, w) → (B · h · w, D)."""
    return outputs.movedim(1, -1).flatten(0, -2)


def build(config: VQVAEConfig, spec: DataSpec) -> VectorQuantisedAutoencoder:
    return VectorQuantisedAutoencoder(config, spec)
