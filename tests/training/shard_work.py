"""What groups of processes train with weights in parts: small families, each with a habit that real ones have."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genpipe.errors import GenpipeError
from genpipe.model import Batch, Model, Optimizers
from genpipe.noise import Noise
from genpipe.training import blocks, checkpoints
from genpipe.training.group import Group
from tests.training.toys import BatchNormalised, Codebook, Pair, ReachesSome, Replay, Tiny, plane, run

STEPS, RESUMED_AT = 12, 10


class Residual(nn.Module):
    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, 7), nn.Linear(7, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.3 * self.down(self.up(x).tanh())


class Deep(Tiny):
    """Blocks within a block, a layer and a number of its own, and a frozen parameter that lies in another order."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.outer = nn.Sequential(Residual(), nn.Sequential(Residual(), Residual()))
            self.scale = nn.Parameter(torch.tensor(0.5))
            self.frozen = nn.Parameter(torch.randn(3, 2).T, requires_grad=False)

    def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
        h = self.outer(z) @ self.frozen @ self.frozen.T * self.scale
        return {"loss": (self.second(self.dropout(self.first(h).relu())) - z).square().mean()}


class Penalised(Deep):
    """Its loss has a gradient in it (Gulrajani et al., 2017), so that blocks are gone through backward twice."""

    def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
        z = z.clone().requires_grad_()
        energy = self.outer(z).square().sum(1) * self.scale
        (gradient,) = torch.autograd.grad(energy.sum(), z, create_graph=True)
        return {"loss": gradient.square().mean() + (energy - 1).square().mean()}


class Adversarial(Deep):
    """A critic that sees real and made examples, then a generator that the new critic judges."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            self.critic = nn.Sequential(Residual(), nn.Linear(2, 1))

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        return {"critic": list(self.critic.parameters()), "generator": [*self.outer.parameters(), self.scale]}

    def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
        start = batch.noise.normal("start", tuple(batch.z.shape))
        made = self.outer(start) * self.scale
        critic = (self.critic(made) + 1).square().mean() + (self.critic(batch.z) - 1).square().mean()
        optimizers.minimize(critic, "critic")
        generator = (self.critic(self.outer(start) * self.scale) - 1).square().mean()
        optimizers.minimize(generator, "generator")
        return {"loss": generator, "critic": critic}


class Tied(Deep):
    """Two of its blocks have one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.outer[0].up.weight = self.outer[1][0].up.weight  # type: ignore[index, union-attr]


class Outside(Deep):
    """Uses a block's weights but by its forward, and so breaks the rule."""

    def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
        return {"loss": (z @ self.outer[0].up.weight.T).square().mean()}  # type: ignore[index, union-attr]


class Said(Outside):
    """Says which blocks it has, and thereby keeps to it."""

    def shard_blocks(self) -> list[nn.Module]:
        return [self.outer[1]]  # type: ignore[list-item]


CASES: dict[str, tuple[Callable[[], Model], dict[str, Any]]] = {
    "plain": (Tiny, {}),
    "two optimisers": (Pair, {}),
    "codebook": (Codebook, {}),
    "replay": (Replay, {}),
    "blocks": (Deep, {}),
    "micro-batches of uneven shares": (Deep, {"batch_size": 10, "accumulation": 2}),
    "clipped, decayed": (Deep, {"clip_norm": 0.05, "weight_decay": 0.1}),
    "bfloat16": (Deep, {"precision": "bfloat16"}),
    "a gradient in the loss": (Penalised, {}),
    "adversarial": (Adversarial, {}),
    "tied": (Tied, {}),
    "reached by some": (ReachesSome, {"weight_decay": 0.1}),
    "named blocks": (Said, {}),
    "watched": (Deep, {"validate_every": 2, "validation": plane(11), "learning_rate": 0.05}),
}
QUICK = ("two optimisers", "codebook", "micro-batches of uneven shares", "a gradient in the loss", "reached by some")
RESUMED = ("codebook", "blocks", "adversarial", "watched")
REFUSED = {"outside": Outside, "apart": BatchNormalised}


def trained(case: str, folder: Path, group: Group | None = None, **options: Any) -> dict[str, Any]:
    """All that a training leaves: weights, state, losses, the step it went on from."""
    build, own = CASES[case]
    model = build()
    options = {"steps": STEPS, "ema_decay": 0.9, "log_every": 1, "checkpoint_every": 5, **own, **options}
    result = run(model, folder, group=group, **options)
    tensors = {**model.state_dict(), **model.train_state}
    return {"tensors": tensors, "history": result.history, "resumed_from": result.resumed_from}


def resumed(case: str, folder: Path, group: Group, parallel: str) -> dict[str, Any]:
    """Goes on from the checkpoint before the last one."""
    there = folder.with_name(f"{folder.name}-{parallel}")
    if group.rank == 0:
        shutil.copytree(folder, there)
        shutil.rmtree(there / f"{checkpoints.PREFIX}{STEPS:08d}")
    group.tell(None)
    return trained(case, there, group, parallel=parallel)


def train_quick(group: Group, folder: Path) -> dict[str, Any]:
    return train_cases(QUICK, group, folder)


def train_all(group: Group, folder: Path) -> dict[str, Any]:
    return train_cases(tuple(CASES), group, folder)


def train_cases(cases: tuple[str, ...], group: Group, folder: Path) -> dict[str, Any]:
    """What each case gave, what those of RESUMED gave from a checkpoint, and what was said of the REFUSED."""
    blocks.MIN_BLOCK = 10
    given: dict[str, Any] = {case: trained(case, folder / case, group, parallel="shard") for case in cases}
    for case in (case for case in RESUMED if case in cases):
        replicated = folder / f"{case}-whole"
        trained(case, replicated, group)
        given[f"{case}, resumed"] = resumed(case, folder / case, group, "shard")
        given[f"{case}, resumed whole"] = resumed(case, folder / case, group, "replicate")
        given[f"{case}, resumed in parts"] = resumed(case, replicated, group, "shard")
    for name, build in REFUSED.items():
        try:
            run(build(), folder / name, group=group, parallel="shard")
        except GenpipeError as error:
            given[name] = f"{type(error).__name__}: {error}"
    return given


class Dying(Deep):
    """The last worker of its group is gone at a step, all of a sudden."""

    def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
        if step == 7 and batch.noise.first_index % 8:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().train_step(batch, optimizers, step)


def lose_one(group: Group, folder: Path) -> str:
    """How it ends for a worker whose peer dies."""
    blocks.MIN_BLOCK = 10
    try:
        run(Dying(), folder / "lost", group=group, parallel="shard", steps=STEPS, checkpoint_every=5)
    except GenpipeError as error:
        return f"{type(error).__name__}: {error}"
    return ""
