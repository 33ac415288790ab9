"""Small families for tests of the training loop, each with a habit that real ones have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genpipe.components import Family
from genpipe.config import Config
from genpipe.data import Split
from genpipe.dataspec import DataSpec
from genpipe.dropout import Dropout
from genpipe.model import Batch, Model, Optimizers
from genpipe.noise import Noise
from genpipe.steps import ProgressFile
from genpipe.training.config import TrainConfig
from genpipe.training.group import Group
from genpipe.training.loop import TrainResult, train

SPEC = DataSpec(name="plane", event="vector", shape=(2,), mean=(0.0, 0.0), std=(1.0, 1.0))
TINY = Family(
    name="tiny",
    summary="a linear map with dropout, for tests of the loop",
    config="genpipe.config:Config",
    build="genpipe.config:Config",
    likelihood=None,
    events=("vector",),
    training="gradient",
)


class Tiny(Model):
    """Regresses noise on data; with dropout."""

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__(TINY, Config(), SPEC)
        generator = torch.Generator().manual_seed(0)
        self.first, self.second = nn.Linear(2, 8), nn.Linear(8, 2)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        self.dropout = Dropout(dropout)

    def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
        target = noise.normal("target", tuple(z.shape))
        error = (self.second(self.dropout(self.first(z).relu())) - target - z).square().mean()
        return {"loss": error, "root": error.detach().sqrt()}


def plane(num: int = 50) -> Split:
    x = np.random.default_rng(0).normal(size=(num, 2)).astype(np.float32)
    return Split(SPEC, "train", x, None)


def run(
    model: Model,
    scratch: Path,
    progress: Any = None,
    split: Split | None = None,
    group: Group | None = None,
    validation: Split | None = None,
    **options: Any,
) -> TrainResult:
    config = TrainConfig(**{"steps": 30, "batch_size": 8, "warmup_steps": 3, "log_every": 4, **options})
    return train(
        model,
        plane() if split is None else split,
        config,
        seed=7,
        device="cpu",
        scratch=scratch,
        progress=progress or ProgressFile(None),
        group=group,
        validation=validation,
    )


def same_weights(first: Model, second: Model) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


class Stop(Exception):
    pass


class StopAt(ProgressFile):
    def __init__(self, step: int) -> None:
        super().__init__(None)
        self.step = step

    def __call__(self, at: int, total: int | None = None, *, keep: bool = False, **numbers: float) -> None:
        if at == self.step:
            raise Stop


class Pair(Tiny):
    """Two optimisers, as an adversarial family has; the second loss reaches the first group's parameters too."""

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        return {"inner": list(self.first.parameters()), "outer": list(self.second.parameters())}

    def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
        inner = self.first(batch.z).square().mean()
        optimizers.minimize(inner, "inner")
        outer = (self.second(self.first(batch.z)) - 1).square().mean()
        optimizers.minimize(outer, "outer")
        return {"loss": outer, "inner": inner}


class Codebook(Tiny):
    """Vector quantisation: codes follow the examples that chose them (van den Oord et al., 2017, appendix A.1)."""

    def __init__(self) -> None:
        super().__init__(dropout=0)
        generator = torch.Generator().manual_seed(1)
        self.register_buffer("codes", torch.randn(5, 2, generator=generator))
        self.register_train_state("uses", torch.ones(5))

    def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
        h = self.second(self.first(batch.z).relu())
        choice = torch.cdist(h.detach(), self.codes).argmin(1)
        chosen = nn.functional.one_hot(choice, 5).to(h.dtype)
        optimizers.sum("uses", chosen.sum(0))
        optimizers.sum("codes", chosen.T @ h.detach())
        loss = (h - self.codes[choice]).square().mean() + (h - batch.z).square().mean()
        optimizers.minimize(loss)
        return {"loss": loss}

    def after_step(self, totals: Mapping[str, Tensor], step: int) -> None:
        self.uses.lerp_(totals["uses"], 0.1)
        used = totals["uses"] > 0
        means = totals["codes"][used] / totals["uses"][used, None]
        self.codes[used] = self.codes[used].lerp(means, 0.1)


class Replay(Tiny):
    """Contrasts examples with ones kept from earlier steps, as energy models do (Du & Mordatch, 2019, sec. 3.2)."""

    def __init__(self) -> None:
        super().__init__(dropout=0)
        self.register_train_state("kept", torch.zeros(12, 2))

    def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
        place = batch.noise.randint("place", 12, (len(batch.z),))
        old = self.kept[place]
        new = old + 0.1 * batch.noise.normal("move", tuple(old.shape)) + 0.1 * self.first(old).detach()[:, :2]
        optimizers.rows("place", place)
        optimizers.rows("new", new)
        loss = (self.second(self.first(batch.z).relu()) - self.second(self.first(new).relu()) - 1).square().mean()
        optimizers.minimize(loss)
        return {"loss": loss}

    def after_step(self, totals: Mapping[str, Tensor], step: int) -> None:
        for place, new in zip(totals["place"].tolist(), totals["new"], strict=True):  # a later example wins
            self.kept[place] = new


class BatchNormalised(Tiny):
    """Learns statistics from this worker's examples alone, and so breaks the rule."""

    def __init__(self) -> None:
        super().__init__(dropout=0)
        self.norm = nn.BatchNorm1d(8)

    def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
        return {"loss": (self.second(self.norm(self.first(z))) - z).square().mean()}


class Forgetful(Tiny):
    """Keeps a tensor that it never declared, and so breaks the rule."""

    def __init__(self) -> None:
        super().__init__(dropout=0)
        self.memory = [torch.zeros(2)]

    def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
        self.memory[0] = self.memory[0].lerp(z.mean(0), 0.1)
        return {"loss": (self.second(self.first(z).relu()) - self.memory[0]).square().mean()}


class ReachesSome(Tiny):
    """Only examples of the batch's second half need the second layer; none need the third."""

    def __init__(self) -> None:
        super().__init__(dropout=0)
        self.third = nn.Parameter(torch.ones(2))

    def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
        position = torch.arange(len(batch.z)) + batch.noise.first_index
        second_half = (position % 8 >= 4).nonzero()[:, 0]
        loss = self.first(batch.z).square().sum() / len(batch.z)
        if len(second_half):
            loss = loss + self.second(self.first(batch.z[second_half])).square().sum() / len(batch.z)
        optimizers.minimize(loss)
        return {"loss": loss}
