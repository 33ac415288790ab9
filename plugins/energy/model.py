"""The energy-based model: what the network tilts, how it learns, and what it then answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.likelihoods.normalizer import annealed, importance, quadrature
from genpipe.model import Batch, Estimator, LogNormalizer, LogProb, Model, Optimizers, SamplePath, Sampler
from genpipe.noise import Noise
from genpipe.plugins.energy import ENERGY
from genpipe.plugins.energy.base import GaussianBase, log_normal
from genpipe.plugins.energy.chains import ACCEPTANCE, Look, cooling, ignore, langevin, metropolis
from genpipe.plugins.energy.config import EnergyConfig
from genpipe.plugins.energy.networks import Tilt, image_tilt, vector_tilt
from genpipe.plugins.energy.objectives import OBJECTIVES
from genpipe.plugins.energy.rejection import Envelope, envelope

MOST_FULL_DIMENSIONS = 1024
RATE = 0.1  # at which the logarithm of a step size follows the acceptance of the chains
MOST_DRAWS = 256  # of the model itself, for the upper bound of log Z


class EnergyModel(Model):
    """p(z) = exp(−f(z)) N(z; m, C) / Z with a network f: the energy is E(z) = f(z) − log N(z; m, C).

    The Gaussian is fitted to the examples of the first `base_steps` steps. It makes Z finite, is where chains and annealing
    begin, and gives the coordinates u, in which it is N(0, I), where a step of one size suits all directions.

    It answers −E exactly; log p(x) takes log Z, an integral over all examples: `log_normalizer`, and the estimators
    "ais", "importance" and "quadrature" of `log_prob`. Samples come from Markov chains, or in the plane by rejection.

    log_step_size () is of a Langevin step; with persistent_cd it follows how many of the chains' steps are accepted.
    Train state: chains (num_chains, D), in u (persistent_cd); base_num (), base_moments, sums of what the base is fitted to.
    """

    config: EnergyConfig
    log_step_size: Tensor
    chains: Tensor
    base_num: Tensor
    base_moments: Tensor

    def __init__(self, config: EnergyConfig, spec: DataSpec) -> None:
        super().__init__(ENERGY, config, spec)
        num_dimensions = spec.num_dimensions
        full = num_dimensions <= MOST_FULL_DIMENSIONS if config.base == "auto" else config.base == "full"
        self.base = GaussianBase(num_dimensions, full=full)
        self.tilt: Tilt = (
            image_tilt(spec.shape, channels=config.channels, hidden=config.hidden)
            if spec.event == "image"
            else vector_tilt(
                num_dimensions,
                hidden=config.hidden,
                num_layers=config.num_layers,
                num_frequencies=config.num_frequencies,
            )
        )
        self.register_buffer("log_step_size", torch.tensor(config.step_size).log())
        self.register_train_state("base_num", torch.zeros((), dtype=torch.float64))
        self.register_train_state("base_moments", torch.zeros_like(self.base.moments(torch.zeros(1, num_dimensions))))
        if config.training == "persistent_cd":
            start = Noise(0, "energy/chains").normal("start", (config.num_chains, num_dimensions))
            self.register_train_state("chains", start)
        self._found: dict[str, Any] = {}

    # -- training -------------------------------------------------------------------------------------------

    def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
        return OBJECTIVES[self.config.training](self, z, noise)[0]

    def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
        terms, moved = OBJECTIVES[self.config.training](self, batch.z, batch.noise)
        if moved is not None:
            optimizers.rows("slots", self.slots(batch.noise, len(batch.z)))
            optimizers.rows("chains", moved.chains)
            optimizers.sum("acceptance", moved.acceptance.sum())
        if step < self.config.base_steps:
            optimizers.sum("num", self.base_num.new_full((), len(batch.z)))
            optimizers.sum("moments", self.base.moments(batch.z.flatten(1)))
        optimizers.minimize(terms["loss"])
        return terms

    def after_step(self, totals: Mapping[str, Tensor], step: int) -> None:
        if "chains" in totals:
            if len(totals["slots"]) > len(self.chains):
                raise UsageError(
                    f"model.num_chains is {len(self.chains)}, and a batch has {len(totals['slots'])} examples with a chain "
                    "each: raise it, or lower train.batch_size"
                )
            self.chains[totals["slots"]] = totals["chains"]
            accepted = totals["acceptance"] / len(totals["slots"])
            self.log_step_size += RATE * (accepted - ACCEPTANCE)
        if step < self.config.base_steps:
            self.base_num += totals["num"]
            self.base_moments += totals["moments"]
            self.base.fit(int(self.base_num), self.base_moments)

    def slots(self, noise: Noise, num: int) -> Tensor:
        """The chains (B,) of a batch's examples: each example in the stream of training has the next one."""
        indices = torch.arange(noise.first_index, noise.first_index + num, device=self.device)
        return indices % self.config.num_chains

    # -- the energy -----------------------------------------------------------------------------------------

    def tilt_at(self, u: Tensor) -> Tensor:
        """f (B,), for u (B, D) in the base's coordinates."""
        return self.tilt(self.base.colour(u).unflatten(1, self.spec.shape))

    @torch.enable_grad()
    def slope(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """f(u) − log N(u; 0, I), (B,), and its gradient (B, D): the energy of u."""
        at = u.detach().requires_grad_()
        f = self.tilt_at(at)
        (gradient,) = torch.autograd.grad(f.sum(), at)
        return f.detach() - log_normal(u), gradient + u

    def potential(self, z: Tensor, y: Tensor | None) -> Tensor:
        u = self.base.whiten(z.flatten(1))
        return self.tilt(z) - log_normal(u) + self.base.log_det().float()

    def log_density(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        """−E(z), (B,): log p(z) + log Z."""
        return -self.potential(z, y)

    # -- samples --------------------------------------------------------------------------------------------

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        """Draws of the base moved by a chain, or in one or two dimensions exact ones by rejection."""
        return self._examples(self._draw(num, noise, sampler))

    def generate_path(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler, num_frames: int) -> SamplePath:
        """A chain's states, from a draw of the base on; by rejection, what was proposed first."""
        num_steps = 1 if sampler.name == "rejection" else whole(sampler, "num_steps")
        shown = torch.linspace(0, num_steps, min(num_frames, num_steps + 1)).round().int().tolist()[:-1]
        frames: list[Tensor] = []

        def look(step: int, u: Tensor) -> None:
            if step in shown:
                frames.append(u.clone())

        frames.append(self._draw(num, noise, sampler, look))
        first = ("first proposal",) if sampler.name == "rejection" else tuple(f"step {step}" for step in shown)
        return SamplePath(frames=torch.stack([self._examples(u) for u in frames]), labels=(*first, "sample"))

    def _draw(self, num: int, noise: Noise, sampler: Sampler, look: Look = ignore) -> Tensor:
        """(num, D) in u, of data: without the noise that score matching put on it, unless the option denoise is 0.

        Of a range of levels that is the lowest. What a draw has beyond it stays, so that chains had better end cooled.
        """
        u = self._model_draw(num, noise, sampler, look)
        asked, can = sampler.options["denoise"], self.config.training == "denoising_score_matching"
        if asked and not can:
            raise UsageError(
                f"denoise is for a model of data with noise, and this one's training is '{self.config.training}': leave it 0"
            )
        # Its mean, given u (Saremi & Hyvärinen, 2019, eq. 4).
        return u - self.config.noise_std**2 * self.slope(u)[1] if can and asked != 0 else u

    def _model_draw(self, num: int, noise: Noise, sampler: Sampler, look: Look = ignore) -> Tensor:
        """(num, D) in u, of exp(−E) / Z; by chains that end at a temperature other than 1 of that, cooled."""
        options = sampler.options
        if sampler.name == "rejection":
            return self._envelope(whole(sampler, "num_cells")).draw(num, noise, look).float()
        start = noise.normal("start", (num, self.spec.num_dimensions), device=self.device)
        size = float(self.log_step_size.exp()) if options["step_size"] is None else options["step_size"]
        if size <= 0:
            raise UsageError(f"step_size is {size:g}, expected a number above 0")
        temperature = options["temperature"]
        assert temperature is not None
        if temperature <= 0:
            raise UsageError(f"temperature is {temperature:g}, expected a number above 0")
        run = partial(metropolis if sampler.name == "metropolis" else langevin, step_size=size)
        num_steps = whole(sampler, "num_steps")
        if temperature == 1:
            return run(self.slope, start, noise, num_steps=num_steps, look=look)
        return cooling(run, self.slope, start, noise, num_steps=num_steps, temperature=temperature, look=look)

    def _examples(self, u: Tensor) -> Tensor:
        return self.base.colour(u).unflatten(1, self.spec.shape)

    def _envelope(self, num_cells: int) -> Envelope:
        make = partial(
            envelope, self._tilt64, self.slope, self.spec.num_dimensions, num_cells=num_cells, device=self.device
        )
        return self._once(f"envelope {num_cells}", make)

    # -- log Z ----------------------------------------------------------------------------------------------

    def estimate_log_density(self, z: Tensor, y: Tensor | None, noise: Noise, estimator: Estimator) -> LogProb:
        """−E(z) − log Z, (B,) nats, with the error and the check of log Z, which all examples share."""
        found = self.estimate_log_normalizer(noise.at(0), estimator)
        nats = self.log_density(z, y, noise).double() - found.nats
        return LogProb(
            nats,
            "estimate",
            None if found.standard_error is None else torch.full_like(nats, found.standard_error),
            check=None if found.check is None else torch.full_like(nats, found.check),
            shared_error=found.standard_error,
        )

    def estimate_log_normalizer(self, noise: Noise, estimator: Estimator) -> LogNormalizer:
        """By annealing or importance from the base, or by quadrature in one or two dimensions.

        The upper bound is of draws by rejection in one or two dimensions, and beyond of the sampler "metropolis": with that
        one it holds as far as its chains have mixed.
        """
        return self._once(f"{estimator} {noise}", partial(self._estimated, noise, estimator))

    def _estimated(self, noise: Noise, estimator: Estimator) -> LogNormalizer:
        num, num_steps = estimator.num_samples, estimator.num_steps
        if estimator.name == "quadrature":
            assert num_steps is not None
            if num_steps % 2:
                raise UsageError(f"quadrature: num_steps is {num_steps}, expected an even number: half are a check")
            return quadrature(self._tilt64, self.spec.num_dimensions, num_cells=num_steps, device=self.device)
        assert num is not None
        name = "rejection" if self.spec.num_dimensions <= ENERGY.max_dimensions["rejection"] else "metropolis"
        draws = self._model_draw(min(num, MOST_DRAWS), noise.child("draws"), self.choose_sampler(name)).double()
        if estimator.name == "importance":
            return importance(self._tilt64, draws, noise=noise, num_samples=num)
        assert num_steps is not None
        return annealed(self._tilt64, draws, noise=noise, num_chains=num, num_steps=num_steps)

    def _tilt64(self, u: Tensor) -> Tensor:
        """The tilt t = −f of genpipe.likelihoods.normalizer."""
        return -self.tilt_at(u.float()).double()

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives, kept until the weights change: log Z is the same for every example asked about."""
        weights = [t.detach().reshape(-1).view(torch.uint8) for t in self.state_dict().values()]
        digest = hash(torch.cat(weights).cpu().numpy().tobytes())
        if self._found.get("weights") != digest:
            self._found = {"weights": digest}
        if name not in self._found:
            self._found[name] = make()
        return self._found[name]


def whole(sampler: Sampler, option: str) -> int:
    """An option that has a default, and is a number of things."""
    value = sampler.options[option]
    assert isinstance(value, int)
    return value


def build(config: EnergyConfig, spec: DataSpec) -> EnergyModel:
    return EnergyModel(config, spec)
