"""The model contract: what a family writes, and what its users call.

| a family writes (network units z, genpipe.units) | users call (data units x) |
| --- | --- |
| `loss(z, y, noise)`, or `train_step` where several optimisers step | `train_step(batch, optimizers, step)` |
| `estimate(batches, progress)` for closed forms | `fit(batches, progress)` |
| `generate(num, y, noise, sampler)` | `sample(num, y, seed=…, first_index=…, sampler=…)` |
| `generate_path(num, y, noise, sampler, num_frames)` | `sample_path(num, y, …, num_frames=…)` |
| `log_density(z, y, noise)` | `log_prob(x, y)` |
| `estimate_log_density(z, y, noise, estimator)` | `log_prob(x, y, estimator=…)` |
| `log_density_gradient(z, y, noise)`, where autograd is not the way | `score(x, y)` |
| `potential(z, y)`, `estimate_log_normalizer(noise, estimator)` | `energy(x, y)`, `log_normalizer(estimator)` |
| `infer(z, y)`, `reconstruct(h, y)` | `encode(x, y)`, `decode(h, y)` |
| `draw_code(z, y, noise)`, `log_likelihood(z, h, y)`, `emit(h, y, noise)` | who models its codes: genpipe.codes |

Units, dequantisation, seeds, labels and the capability check are here, once: a family's methods are given labels y (B,)
int64 where `Model.conditional` is true, always, and None elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from genpipe.answers import LogNormalizer as LogNormalizer
from genpipe.answers import LogProb as LogProb
from genpipe.answers import SamplePath as SamplePath
from genpipe.arguments import as_tensor, checked_code, noise_of, whole_number
from genpipe.batch import Batch as Batch
from genpipe.batch import Optimizers as Optimizers
from genpipe.batch import Progress as Progress
from genpipe.capabilities import need, need_few_dimensions
from genpipe.errors import CapabilityError, PluginError, UsageError
from genpipe.estimator import Estimator as Estimator
from genpipe.estimator import choose_estimator
from genpipe.family_methods import FamilyMethods
from genpipe.labels import checked_labels, draw_labels, marginal, marginal_gradient
from genpipe.noise import Noise
from genpipe.sampler import Sampler as Sampler
from genpipe.sampler import SamplerChoice, choose_sampler


class Model(FamilyMethods):
    """Base of every family's model; see the module's table. All of its state is in parameters and buffers.

    Several workers may train one model: each is given a part of every batch, and all of them hold the same state.
    So a tensor may change by what the whole batch gives alone: by `minimize`, or in `after_step`.
    """

    def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
        """One optimisation step; gives the loss terms. Families with one optimiser inherit this."""
        terms = self.loss(batch.z, batch.y, batch.noise)
        if not isinstance(terms, Mapping) or "loss" not in terms:
            given = sorted(terms) if isinstance(terms, Mapping) else f"of type {type(terms).__name__}"
            raise PluginError(f"family '{self.family.name}' gave loss terms {given}, expected a mapping with 'loss'")
        optimizers.minimize(terms["loss"])
        return terms

    def fit(self, batches: Callable[[], Iterator[Batch]], progress: Progress) -> dict[str, float]:
        return self.estimate(batches, progress)

    @torch.no_grad()
    def sample(
        self,
        num: int,
        y: Tensor | int | None = None,
        *,
        seed: int = 0,
        first_index: int = 0,
        sampler: SamplerChoice = None,
    ) -> Tensor:
        """Samples (num, *event) in data units.

        Sample `first_index + i` of a seed is the same whatever `num` it is drawn with. y: (num,) labels or one
        label for all, for conditional models, which without draw them from p(y). sampler: a name, a mapping with its options (and
        perhaps its name), or None.
        """
        self.need("sample")
        num = whole_number("num", num, 0)
        noise = noise_of(seed, "sample", first_index)
        z = self.generate(num, self._labels_or_drawn(y, num, noise), noise, self.choose_sampler(sampler))
        if tuple(z.shape) != (num, *self.spec.shape):
            raise UsageError(
                f"family '{self.family.name}' gave samples of shape {tuple(z.shape)}, expected {(num, *self.spec.shape)}"
            )
        return self.units.from_network(z)

    @torch.no_grad()
    def sample_path(
        self,
        num: int,
        y: Tensor | int | None = None,
        *,
        seed: int = 0,
        first_index: int = 0,
        sampler: SamplerChoice = None,
        num_frames: int = 8,
    ) -> SamplePath:
        """How the samples that `sample` gives for the same arguments came about, in data units.

        num_frames: moments to look at, evenly spaced from the start to the samples themselves; fewer where the way has
        fewer steps.
        """
        self.need("path")
        num = whole_number("num", num, 0)
        num_frames = whole_number("num_frames", num_frames, 2)
        noise = noise_of(seed, "sample", first_index)
        labels = self._labels_or_drawn(y, num, noise)
        path = self.generate_path(num, labels, noise, self.choose_sampler(sampler), num_frames)
        found = len(path.labels)
        expected = (found, num, *self.spec.shape)
        if not 2 <= found <= num_frames or tuple(path.frames.shape) != expected:
            raise UsageError(
                f"family '{self.family.name}' gave {found} labels for frames of shape {tuple(path.frames.shape)}, "
                f"expected 2 to {num_frames} of them and {expected}"
            )
        return SamplePath(frames=self.units.from_network(path.frames), labels=path.labels, drawn=path.drawn)

    @torch.no_grad()
    def log_prob(
        self,
        x: Tensor,
        y: Tensor | None = None,
        *,
        seed: int = 0,
        first_index: int = 0,
        estimator: Estimator | str | Mapping[str, Any] | None = None,
    ) -> LogProb:
        """Log-probability of x (B, *event), data units, in nats per example, with its kind.

        Integer data is dequantised with the numbers of (seed, first_index): a lower bound on the discrete
        log-probability in expectation (Theis et al., 2016, eq. 4). Discrete families give that itself.
        estimator: a name, a mapping of `Estimator`'s fields, or None for the family's own way.
        y: (B,) labels, or one for all, for log p(x | y) of conditional models; without, log p(x) of them too, the sum
        over all classes by p(y).
        """
        self.need("log_prob")
        x = self.units.check(as_tensor("x", x)).to(self.device)
        noise, labels = noise_of(seed, "log_prob", first_index), self._labels(y, len(x))
        z = self.units.to_network(x, noise)
        chosen = None if estimator is None else choose_estimator(self.family, estimator, self.spec)
        if self.conditional and labels is None:
            answer = marginal(self.spec, len(x), z.device, lambda each: self._log_density(z, each, noise, chosen))
        else:
            answer = self._log_density(z, labels, noise, chosen)
        return replace(answer, nats=answer.nats + self.units.log_det)

    def _log_density(self, z: Tensor, y: Tensor | None, noise: Noise, estimator: Estimator | None) -> LogProb:
        """What the family gives, with its kind."""
        if estimator is None:
            answer = self.log_density(z, y, noise)
        else:
            answer = self.estimate_log_density(z, y, noise.child(estimator.name), estimator)
            answer = replace(answer, estimator=estimator)
        if isinstance(answer, Tensor):
            assert self.family.likelihood is not None
            answer = LogProb(answer, self.family.likelihood)
        if tuple(answer.nats.shape) != (len(z),):
            raise UsageError(
                f"family '{self.family.name}' gave log-probabilities of shape {tuple(answer.nats.shape)}, expected ({len(z)},)"
            )
        return answer

    @torch.no_grad()
    def score(self, x: Tensor, y: Tensor | None = None, *, seed: int = 0, first_index: int = 0) -> Tensor:
        """The gradient of log p at x, (B, *event) for x (B, *event), both in data units; of the density of
        dequantised data where that is integers. y: as for `log_prob`."""
        self.need("score")
        x = self.units.check(as_tensor("x", x)).to(self.device)
        noise = noise_of(seed, "log_prob", first_index)
        z = self.units.to_network(x, noise)
        labels = self._labels(y, len(x))
        if self.conditional and labels is None:
            self.need("log_prob")  # which says how much of each class there is in x
            gradient = marginal_gradient(
                self.spec,
                len(x),
                z.device,
                lambda each: self._log_density(z, each, noise, None).nats,
                lambda each: self.log_density_gradient(z, each, noise),
            )
        else:
            gradient = self.log_density_gradient(z, labels, noise)
        if gradient.shape != z.shape:
            raise PluginError(
                f"family '{self.family.name}' gave a score of shape {tuple(gradient.shape)}, expected {tuple(z.shape)}"
            )
        return self.units.gradient_from_network(gradient)

    @torch.no_grad()
    def energy(self, x: Tensor, y: Tensor | None = None, *, seed: int = 0, first_index: int = 0) -> Tensor:
        """(B,) nats for x (B, *event), data units: p(x) = exp(−energy(x)) / Z, of the density of dequantised data where
        that is integers."""
        self.need("energy")
        x = self.units.check(as_tensor("x", x)).to(self.device)
        z = self.units.to_network(x, noise_of(seed, "log_prob", first_index))
        return self.potential(z, self._labels(y, len(x))) - self.units.log_det

    @torch.no_grad()
    def log_normalizer(self, estimator: Estimator | str | Mapping[str, Any], *, seed: int = 0) -> LogNormalizer:
        """log Z of `energy`: what `log_prob` with that estimator takes off. Printed, it says its error and its bounds."""
        self.need("energy")
        chosen = choose_estimator(self.family, estimator, self.spec)
        return self.estimate_log_normalizer(noise_of(seed, "log_prob").child(chosen.name), chosen)

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Latent code of x (B, *event), data units. y: its labels (B,), which conditional models need."""
        self.need("encode")
        self._need_labels(y, "encode")
        x = self.units.check(as_tensor("x", x)).to(self.device)
        return self.infer(self.units.to_network(x, None), self._labels(y, len(x)))

    @torch.no_grad()
    def decode(self, code: Tensor, y: Tensor | None = None) -> Tensor:
        """Examples (B, *event), data units, for latent codes. y: labels (B,), which conditional models need."""
        self.need("decode")
        self._need_labels(y, "decode")
        code = checked_code(code, self.code_shape(), self.code_levels(), f"this model of family '{self.family.name}'")
        code = code.to(self.device)
        return self.units.from_network(self.reconstruct(code, self._labels(y, len(code))))

    def need(self, capability: str) -> None:
        """CapabilityError where the family cannot do this."""
        need(self.family, capability)

    def choose_sampler(self, sampler: SamplerChoice) -> Sampler:
        """The sampler meant, checked against the family's and the data, with all of its options."""
        chosen = choose_sampler(self.family, sampler)
        if chosen.name is not None:
            need_few_dimensions(self.family, chosen.name, self.spec)
        return chosen

    def _labels(self, y: Tensor | int | None, num: int) -> Tensor | None:
        if y is None:
            return None
        if not self.conditional:
            remedy = "; train it with model.conditional=true" if self.family.conditional else ""
            raise CapabilityError(
                f"this model of family '{self.family.name}' is unconditional and takes no labels{remedy}"
            )
        return checked_labels(y, num, self.spec, self.device)

    def _labels_or_drawn(self, y: Tensor | int | None, num: int, noise: Noise) -> Tensor | None:
        if y is None and self.conditional:
            return draw_labels(self.spec, num, noise).to(self.device)
        return self._labels(y, num)

    def _need_labels(self, y: Tensor | int | None, capability: str) -> None:
        if y is None and self.conditional:
            raise UsageError(
                f"this model of family '{self.family.name}' is of each class by its label: {capability} needs y"
            )
