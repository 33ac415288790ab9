"""A coder and a prior over its codes as one model: samples, codes and the bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from genpipe.codes import code_spec
from genpipe.errors import UsageError
from genpipe.likelihoods.importance import importance_weighted
from genpipe.likelihoods.standard_error import standard_error
from genpipe.model import Estimator, LogProb, Model, SamplePath, Sampler
from genpipe.noise import Noise
from genpipe.plugins.two_stage import TWO_STAGE
from genpipe.plugins.two_stage.config import TwoStageConfig


class TwoStage(Model):
    """p(x) = Σ_h p(x | h) p(h), an integral where codes h are real: p(x | h) is the coder's, p(h) the prior's.

    With the coder's q(h | x), whatever it is (Kingma & Welling, 2014, eq. 2, with this prior),

        log p(x) ≥ E_q [log p(x | h) + log p(h) − log q(h | x)].

    Tokens are a function of x: q has all its mass on h = k(x), log q is 0, and the bound is log p(x | k(x)) + log P(k(x)).
    It is true without any of that too, as a sum of probabilities is at least the one term that is kept. What the other
    terms, other tokens that could have led to x, add is what it lacks, and is not known.
    Of real codes, as a VAE's, it is the VAE's ELBO with p(h) in the place of N(0, I): no true statement about how tight.
    It holds for any prior, trained well or not, and for a prior that is itself bounded from below. log p(h) is in the
    codes' own units, and for real codes a density in them, as log q is: the units cancel.
    Training a coder and then a prior maximises the bound in two parts, and not all of it at once.

    output: "draw" samples p(x | h), so that samples are draws of p; "mean" gives what the decoder expects.
    """

    config: TwoStageConfig

    def __init__(self, config: TwoStageConfig, coder: Model, prior: Model) -> None:
        families = {name: m.family.configured(m.config) for name, m in (("coder", coder), ("prior", prior))}
        record = TWO_STAGE.made_of(families)
        super().__init__(record, config, coder.spec)
        self.coder, self.prior = coder, prior
        self._code_shape = coder.code_shape()
        codes = code_spec(coder, prior.spec.event)
        if (codes.shape, codes.levels) != (prior.spec.shape, prior.spec.levels):
            raise UsageError(
                f"the prior models {prior.spec.event}s of shape {prior.spec.shape} with levels {prior.spec.levels}, and "
                f"the coder's codes have shape {codes.shape} and levels {codes.levels}: it is of another coder"
            )

    @property
    def is_deterministic(self) -> bool:
        """Whether x leaves one code alone."""
        return self.coder.code_levels() is not None

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        """Codes of the prior, by its sampler, and images of these."""
        return self._decoded(
            self.prior.generate(num, self._labels_of(self.prior, y), noise.child("prior"), sampler), y, noise
        )

    def generate_path(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler, num_frames: int) -> SamplePath:
        """The prior's way, each of its moments decoded with the same numbers."""
        labels = self._labels_of(self.prior, y)
        path = self.prior.generate_path(num, labels, noise.child("prior"), sampler, num_frames)
        return replace(path, frames=torch.stack([self._decoded(frame, y, noise) for frame in path.frames]))

    def _decoded(self, prior_units: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        """(B, *event) of codes in the prior's network units."""
        codes = self.prior.units.from_network(prior_units).reshape(-1, *self._code_shape)
        labels = self._labels_of(self.coder, y)
        if self.config.output == "mean" or "posterior" not in self.coder.family.capabilities:
            return self.coder.reconstruct(codes, labels)
        return self.coder.emit(codes, labels, noise.child("coder"))

    def infer(self, z: Tensor, y: Tensor | None) -> Tensor:
        return self.coder.infer(z, self._labels_of(self.coder, y))

    def reconstruct(self, code: Tensor, y: Tensor | None) -> Tensor:
        return self.coder.reconstruct(code, self._labels_of(self.coder, y))

    def code_shape(self) -> tuple[int, ...]:
        return self._code_shape

    def code_levels(self) -> int | None:
        return self.coder.code_levels()

    def log_density(self, z: Tensor, y: Tensor | None, noise: Noise) -> LogProb:
        """The bound (B,), the mean over `num_elbo_samples` codes where x leaves them open.

        standard_error: of that mean, or the prior's own where there is one code; None where nothing is drawn.
        """
        kind = self.family.likelihood
        assert kind is not None
        if self.is_deterministic:
            weight = self._log_weight(z, y, noise)
            return replace(weight, kind=kind, check=None)
        count = self.config.num_elbo_samples
        draws = torch.stack([self._log_weight(z, y, noise.child(str(k))).nats for k in range(count)])
        return LogProb(draws.mean(dim=0), kind, standard_error(draws))

    def estimate_log_density(self, z: Tensor, y: Tensor | None, noise: Noise, estimator: Estimator) -> LogProb:
        """iwae: the bound of num_samples codes under one logarithm (Burda et al., 2016, eq. 8), of an exact prior; of
        tokens, which are not drawn, the bound itself."""
        assert estimator.num_samples is not None
        if self.is_deterministic:
            return self.log_density(z, y, noise)
        return importance_weighted(lambda k: self._log_weight(z, y, noise.child(str(k))).nats, estimator.num_samples)

    def _log_weight(self, z: Tensor, y: Tensor | None, noise: Noise) -> LogProb:
        """log p(z | h) + log p(h) − log q(h | z), (B,) float64, of one h drawn from q; errors are of the prior's."""
        labels = self._labels_of(self.coder, y)
        code, log_q = self.coder.draw_code(z, labels, noise.child("coder"))
        prior = self._log_prior(code, y, noise.child("prior"))
        likelihood = self.coder.log_likelihood(z, code, labels)
        return replace(prior, nats=likelihood.double() + prior.nats.double() - log_q.double())

    def _log_prior(self, code: Tensor, y: Tensor | None, noise: Noise) -> LogProb:
        """log p(h), (B,), in the codes' units."""
        units = self.prior.units
        h = units.to_network(code.reshape(len(code), *self.prior.spec.shape), noise)
        answer = self.prior.log_density(h, self._labels_of(self.prior, y), noise)
        if isinstance(answer, Tensor):
            assert self.prior.family.likelihood is not None
            answer = LogProb(answer, self.prior.family.likelihood)
        return replace(answer, nats=answer.nats + units.log_det)

    @staticmethod
    def _labels_of(part: Model, y: Tensor | None) -> Tensor | None:
        return y if part.conditional else None


def build(config: TwoStageConfig, parts: Mapping[str, Model]) -> TwoStage:
    return TwoStage(config, **parts)
