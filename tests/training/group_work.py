"""What tests have groups on Ray train: a codebook, by workers that misbehave."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from genpipe.model import Model
from genpipe.training.assignment import Assignment
from genpipe.training.loop import TrainResult
from tests.training.toys import Codebook, run

STEP = 13


@dataclass(frozen=True, kw_only=True)
class Misbehaving(Assignment):
    """act: what worker 1 does at step 13 ("kill", "hang", "raise", "diverge" or ""); times: in how many attempts.

    parallel: train.parallel.
    """

    act: str = ""
    times: int = 1
    parallel: str = "replicate"

    def carry_out(
        self, registry: Any, progress: Any, *, stored: Any = None, group: Any = None
    ) -> tuple[Model, TrainResult]:
        marks = Path(self.scratch) / "attempts"
        marks.mkdir(parents=True, exist_ok=True)
        if group is not None and group.rank == 1:
            (marks / f"{time.time_ns()}-{group.size}").touch()
        model = Codebook()
        if group is not None and group.rank == 1 and self.act and len(list(marks.iterdir())) <= self.times:
            model = Acting(self.act)
        return model, run(model, Path(self.scratch), progress, group=group, checkpoint_every=5, parallel=self.parallel)


class Acting(Codebook):
    def __init__(self, act: str) -> None:
        super().__init__()
        self.act = act

    def train_step(self, batch: Any, optimizers: Any, step: int) -> Any:
        if step == STEP:
            if self.act == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.act == "hang":
                self.waits_for_nothing()
            if self.act == "raise":
                raise TypeError("the codebook has no pages")
            if self.act == "diverge":
                with torch.no_grad():
                    self.second.weight.fill_(float("inf"))
        return super().train_step(batch, optimizers, step)

    def waits_for_nothing(self) -> None:
        time.sleep(10_000)
