"""What a family writes of its model, and the state that it declares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from genpipe.answers import LogNormalizer, LogProb, SamplePath
from genpipe.batch import Batch, Progress
from genpipe.capabilities import need_data
from genpipe.components import Family
from genpipe.dataspec import DataSpec
from genpipe.estimator import Estimator
from genpipe.labels import check_can_be_learnt
from genpipe.noise import Noise
from genpipe.sampler import Sampler
from genpipe.units import Units


class FamilyMethods(nn.Module):
    """What a family writes: all in network units, with labels y (B,) int64 where `conditional` is true, always, and None
    elsewhere. `genpipe.Model`, which has the rest, is what it subclasses."""

    def __init__(self, family: Family, config: Any, spec: DataSpec) -> None:
        super().__init__()
        need_data(family, spec)
        check_can_be_learnt(family, config, spec)
        self.family, self.config, self.spec, self.units = family, config, spec, Units(spec, discrete=family.discrete)
        self.train_state_names: list[str] = []
        self.row_names: list[str] = []

    @property
    def train_state(self) -> dict[str, Tensor]:
        """What `register_train_state` declared, by name."""
        return {name: self.get_buffer(name) for name in self.train_state_names}

    @property
    def conditional(self) -> bool:
        """Whether it is a model of p(x | y), and so is given labels."""
        return self.family.takes_labels(self.config)

    @property
    def device(self) -> torch.device:
        tensor = _first_tensor(self)
        return tensor.device if tensor is not None else torch.device("cpu")

    def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
        """Loss terms, scalars; "loss" is minimised and the others are logged."""
        raise NotImplementedError(f"family '{self.family.name}' trains by train_step or in closed form")

    def validation_loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        """What early stopping watches: a scalar, a mean over examples, lower is better; the loss unless a family knows
        better. Called in eval mode without gradients, with the same noise for an example every time."""
        return self.loss(z, y, noise)["loss"]

    def estimate(self, batches: Callable[[], Iterator[Batch]], progress: Progress) -> dict[str, float]:
        """Closed-form fit; `batches()` starts a pass over the training split. Gives numbers to log."""
        raise NotImplementedError(f"family '{self.family.name}' trains by gradients")

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        """(num, *event) in network units; row i is a function of noise and noise.first_index + i alone.

        sampler: one of the record's, all of its options filled in."""
        raise NotImplementedError

    def generate_path(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler, num_frames: int) -> SamplePath:
        """What `generate` passes through on its way, in network units: num_frames moments from the first to the last,
        or all of them where there are fewer. The last is what `generate` gives."""
        raise NotImplementedError

    def log_density(self, z: Tensor, y: Tensor | None, noise: Noise) -> LogProb | Tensor:
        """Nats per example (B,) in network units, or of the integers for discrete families.

        A bare tensor is of the family's kind.
        """
        raise NotImplementedError

    def estimate_log_density(self, z: Tensor, y: Tensor | None, noise: Noise, estimator: Estimator) -> LogProb:
        """What `log_density` gives, another way: see genpipe.likelihoods. estimator: one of the record's, all of its
        options filled in."""
        raise NotImplementedError

    def log_density_gradient(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        """(B, *event), the gradient of `log_density` in z; families that cannot be differentiated, or know it
        better, write it."""
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            answer = self.log_density(z, y, noise)
            nats = answer if isinstance(answer, Tensor) else answer.nats
            return torch.autograd.grad(nats.sum(), z)[0]

    def potential(self, z: Tensor, y: Tensor | None) -> Tensor:
        """The energy (B,) in network units: p(z) = exp(−potential(z)) / Z."""
        raise NotImplementedError

    def estimate_log_normalizer(self, noise: Noise, estimator: Estimator) -> LogNormalizer:
        """log Z of `potential`, which no example changes: see genpipe.likelihoods.normalizer. estimator: one of the record's,
        all of its options filled in."""
        raise NotImplementedError

    def infer(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Latent code (B, …) of z."""
        raise NotImplementedError

    def reconstruct(self, code: Tensor, y: Tensor | None) -> Tensor:
        """(B, *event) in network units for a latent code."""
        raise NotImplementedError

    def draw_code(self, z: Tensor, y: Tensor | None, noise: Noise) -> tuple[Tensor, Tensor]:
        """A draw h (B, …) of q(h | z), and log q(h | z), (B,) nats: zeros where z leaves one discrete code alone."""
        raise NotImplementedError

    def log_likelihood(self, z: Tensor, code: Tensor, y: Tensor | None) -> Tensor:
        """log p(z | h), (B,), nats in network units, or of the integers for discrete families."""
        raise NotImplementedError

    def emit(self, code: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        """(B, *event) in network units, drawn from p(z | h)."""
        raise NotImplementedError

    def code_shape(self) -> tuple[int, ...]:
        """Of one latent code: what `infer` gives. Families that decode and cannot encode write it."""
        with torch.no_grad():
            z = torch.zeros(1, *self.spec.shape, device=self.device)
            y = torch.zeros(1, dtype=torch.int64, device=self.device) if self.conditional else None
            return tuple(self.infer(z, y).shape[1:])

    def code_levels(self) -> int | None:
        """Of codes that are whole numbers 0 … levels − 1 how many there are; None for real ones."""
        return None

    def parameter_groups(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """The parameters of each optimiser; "model" alone unless a family needs several."""
        return {"model": self.parameters()}

    def shard_blocks(self) -> Iterable[nn.Module] | None:
        """Modules whose weights `train.parallel=shard` puts together only while their `forward` runs, and backward.

        None leaves the choice to their size (genpipe.training.blocks). A family says it where a large module is used in
        another way than by calling it; weights in no block are together all through `train_step`.
        """
        return None

    def register_train_state(self, name: str, value: Tensor) -> None:
        """A buffer that training alone needs, such as a replay buffer or how often a code was used.

        Checkpoints keep it, so that training goes on exactly; saved models leave it out. It moves in `after_step`.
        """
        self.register_buffer(name, value, persistent=False)
        self.train_state_names.append(name)

    def register_rows(self, name: str, value: Tensor) -> None:
        """A buffer with as many rows as the data asks for, such as the training examples themselves.

        `set_rows` changes their number, and a saved model is loaded with as many as it had.
        """
        self.register_buffer(name, value)
        self.row_names.append(name)

    def set_rows(self, name: str, value: Tensor) -> None:
        """Replaces the rows of a buffer of `register_rows` by others of the same shape and type."""
        old = self.get_buffer(name)
        assert name in self.row_names
        assert value.shape[1:] == old.shape[1:]
        setattr(self, name, value.to(old).clone())

    def after_step(self, totals: Mapping[str, Tensor], step: int) -> None:
        """Called once per step, without gradients, after the weights moved: the place where buffers change.

        totals: what `train_step` gave to `optimizers.sum` and `optimizers.rows`, over the whole batch, the same on
        every worker and for any number of them.
        """


def _first_tensor(module: nn.Module) -> Tensor | None:
    """Any parameter or buffer; `parameters` takes several times as long to find its first."""
    for tensors in (module._parameters, module._buffers):
        for tensor in tensors.values():
            if tensor is not None:
                return tensor
    for part in module._modules.values():
        if part is not None and (found := _first_tensor(part)) is not None:
            return found
    return None
