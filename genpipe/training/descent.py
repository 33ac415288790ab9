"""Training by gradients, step by step: batches by position, whole-state checkpoints, a check of every loss."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genpipe.config import key_values
from genpipe.dropout import masks_of
from genpipe.errors import first_line
from genpipe.model import Batch, Model
from genpipe.steps import ProgressFile
from genpipe.training import checkpoints
from genpipe.training.agreement import check_alike
from genpipe.training.config import TrainConfig
from genpipe.training.divergence import astray, divergence
from genpipe.training.feed import Feed
from genpipe.training.group import Group
from genpipe.training.mirror import Mirror
from genpipe.training.optimizers import LoopOptimizers, learning_rate
from genpipe.training.pace import Pace
from genpipe.training.placement import weights_of
from genpipe.training.result import TrainResult
from genpipe.training.share import micro_batches
from genpipe.training.state import read, restore, shared, whole_state
from genpipe.training.terms import Terms, Window, check_terms
from genpipe.training.validation import Validation

log = logging.getLogger("genpipe.training")

FULL_PRECISION = nullcontext()
VALIDATION_LOSS = "validation_loss"


class Descent:
    """From where a checkpoint ends to the last step, or to where validation says stop: `run` gives the result.

    watched: what validation looks at; mirror: where checkpoints are sent, and asked for.
    """

    def __init__(
        self,
        model: Model,
        feed: Feed,
        config: TrainConfig,
        *,
        seed: int,
        scratch: Path,
        progress: ProgressFile,
        group: Group,
        mirror: Mirror | None,
        watched: Feed | None,
    ) -> None:
        self.given, self.feed, self.config, self.seed = model, feed, config, seed
        self.scratch, self.mirror, self.group, self.device = scratch, mirror, group, feed.device
        self.progress = progress if group.rank == 0 else ProgressFile(None)
        self.micro_batches = micro_batches(config.batch_size, config.accumulation, group.rank, group.size)
        self.share = sum(count for _, count in self.micro_batches)
        self.weights = weights_of(model, config, group, self.device)
        self.model = self.weights.model
        self.parameters: list[Tensor] = list(self.weights.parameters)
        self.optimizers = LoopOptimizers(self.weights, config)
        averaging = config.ema_decay > 0
        self.ema = [p.detach().clone() for p in self.parameters] if averaging else []
        self.validation: Validation | None = None
        if watched is not None:
            self.validation = Validation(watched, config, self.weights, self.ema, group, self._computing)
        self.history: list[dict[str, float]] = []
        self.first_loss: float | None = None
        self.done = 0
        self.window = Window(group, self.share / config.batch_size, model.family.name)
        self.pace = Pace(group, config.checkpoint_every)
        self.identity = {
            "family": model.family.name,
            "model": model.config.model_dump(mode="json"),
            "train": key_values(config),
            "spec": {"name": model.spec.name, "shape": list(model.spec.shape), "levels": model.spec.levels},
            "num_examples": len(feed.split),
            "seed": seed,
        }

    def run(self) -> TrainResult:
        model = self.model
        begun = time.monotonic()
        first, seconds_before = self._resume()
        self.done = first
        model.train()
        if not self._is_over():
            with self.feed.reading_ahead(self._schedule(first)):
                self._train(first, seconds_before - begun)
        with torch.no_grad():
            if self.validation is not None:
                self.validation.take_best()
            elif self.ema:
                torch._foreach_copy_(self.parameters, self.ema)
        if self.group.rank == 0 and (doubt := astray(model.family.name, self.config, self.first_loss, self.history)):
            log.warning(doubt)
        model.zero_grad()
        self.weights.finish()
        self.given.eval()
        seconds = time.monotonic() - begun
        return TrainResult(
            history=self.history,
            numbers=self._final_numbers(),
            steps=self.done,
            resumed_from=first or None,
            seconds=seconds,
            seconds_resumed=seconds_before,
            steps_per_second=(self.done - first) / max(seconds, 1e-9),
        )

    def _is_over(self) -> bool:
        return self.done >= self.config.steps or (self.validation is not None and self.validation.says_stop)

    def _final_numbers(self) -> dict[str, float]:
        """The last logged terms; of the validation split those of the weights that the model has."""
        last = next(entry for entry in reversed(self.history) if "loss" in entry)
        numbers = {name: value for name, value in last.items() if name not in ("step", "learning_rate")}
        if self.validation is not None and self.validation.best_loss is not None:
            numbers |= {VALIDATION_LOSS: self.validation.best_loss, "best_step": float(self.validation.best_step or 0)}
        return numbers

    def _schedule(self, first: int) -> Iterator[tuple[int, int]]:
        """(position, count) of every batch of this worker from a step on."""
        for step in range(first, self.config.steps):
            for start, count in self.micro_batches:
                yield step * self.config.batch_size + start, count

    def _train(self, first: int, offset: float) -> None:
        """The steps from `first` on. offset: what the clock lacks of the seconds that training took so far."""
        config = self.config
        # A worker alone on a CPU waits for nothing when it reads a loss; others find out when they meet.
        immediate = self.device.type == "cpu" and self.group.size == 1
        for step in range(first, config.steps):
            terms = self._step_or_divergence(step)
            self.window.add(terms)
            if immediate and not math.isfinite(terms["loss"].item()):
                self._find_divergence(step + 1)
            self.done = done = step + 1
            looks = self.validation is not None and self.validation.is_due(done)
            logged = done == config.steps or done % config.log_every == 0
            if looks or logged or self.pace.meets(done):
                self.pace.meet(done)
                self._find_divergence(done)
            found = self._look(done) if looks else {}
            over = self._is_over()
            if logged or over:
                self._log(step, found)
            elif found:
                self._keep({"step": done, **found})
            else:
                self.progress(done, config.steps)
            if over:
                break
            if self.pace.is_due(done):
                self._save(done, offset + time.monotonic())
        if self.group.size > 1:
            self._save(self.done, offset + time.monotonic())  # for who asked the group to train
        else:
            self._check(self.done)

    def _step_or_divergence(self, step: int) -> Terms:
        """What `_step` gives; DivergedError where it failed since what it computes with is not finite any more, which an
        operation may refuse before a loss shows it."""
        try:
            return self._step(step)
        except (RuntimeError, ValueError) as error:
            self._find_divergence(step)
            if not checkpoints.all_finite(self.parameters):
                self._diverged(step, {}, f"the weights are not finite, and the model said: {first_line(error)}")
            raise

    def _step(self, step: int) -> Terms:
        """One optimisation step; gives the terms' means over this worker's share."""
        config, share, num = self.config, self.share, len(self.micro_batches)
        total: dict[str, Tensor] = {}
        for index, (first, count) in enumerate(self.micro_batches):
            position = step * config.batch_size + first
            self.optimizers.begin(step, first=first, count=count, is_first=index == 0, is_last=index == num - 1)
            batch = self.feed.batch(position, count)
            with self._computing(position, batch):
                terms = self.model.train_step(batch, self.optimizers, step)
            check_terms(terms, self.model.family.name)
            if num == 1:
                total = {name: term.detach() for name, term in terms.items()}
            else:
                for name, term in terms.items():
                    part = term.detach() * (count / share)
                    total[name] = total[name] + part if name in total else part
        with torch.no_grad():
            self.model.after_step(self.optimizers.totals(), step)
            if self.ema:
                # The decay rises with the step, so that the initial weights are soon forgotten.
                decay = min(config.ema_decay, (1 + step) / (10 + step))
                torch._foreach_lerp_(self.ema, self.parameters, 1 - decay)
        return total

    @contextmanager
    def _computing(self, position: int, batch: Batch) -> Iterator[None]:
        """Around what a model computes of a batch, from `position` of its stream on."""
        # For what draws from torch's own generators all the same: seeded here, that too depends on the step alone,
        # and on how the batch is cut.
        self._seed_generators(position)
        with self.weights.running(), self._precision(), masks_of(batch.noise):
            yield

    def _seed_generators(self, counter: int) -> None:
        seed = (self.seed * 0x9E3779B97F4A7C15 + counter * 0xD1B54A32D192ED03) % 2**63
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _precision(self) -> AbstractContextManager[Any]:
        if self.config.precision == "float32":
            return FULL_PRECISION
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _log(self, step: int, found: Mapping[str, float]) -> None:
        """Means over the steps since the last entry, and what was found on the validation split."""
        if not self.history:
            self.first_loss = self.window.settled[0]["loss"]
        self._keep(
            {"step": step + 1, "learning_rate": learning_rate(self.config, step), **self.window.means(), **found}
        )
        self.window.clear()

    def _keep(self, entry: dict[str, float]) -> None:
        self.history.append(entry)
        numbers = {name: value for name, value in entry.items() if name != "step"}
        self.progress(int(entry["step"]), self.config.steps, keep=True, **numbers)

    def _look(self, done: int) -> dict[str, float]:
        """What the validation split says."""
        assert self.validation is not None
        loss = self.validation.look(done)
        if not math.isfinite(loss):
            self._diverged(done - 1, {VALIDATION_LOSS: loss}, "the loss of the validation split is not finite")
        return {VALIDATION_LOSS: loss}

    def _find_divergence(self, done: int) -> None:
        """DivergedError where a loss since the last logged entry is not finite: on all workers, or none."""
        self.window.settle()
        bad = self.window.first_not_finite()
        if bad is not None:
            self._diverged(done - len(self.window) + bad, self.window.settled[bad])

    def _check(self, done: int) -> None:
        """Before weights are kept: a finite loss can still have sent them to infinity, and workers may differ."""
        self._find_divergence(done)
        check_alike(self.weights.alike(), self.group, self.model.family.name)
        if any(self.group.largest([not checkpoints.all_finite(self.parameters)])):
            terms = self.window.settled[-1] if len(self.window) else {}
            self._diverged(done - 1, terms, "the weights are not finite after this step")

    def _diverged(self, step: int, terms: Mapping[str, float], what: str = "the loss is not finite") -> None:
        kept = checkpoints.list_checkpoints(self.scratch)
        raise divergence(
            self.model.family.name,
            self.config,
            step=step + 1,
            what=what,
            terms=terms,
            history=self.history,
            checkpoint=kept[0] if kept else None,
        )

    # -- checkpoints ----------------------------------------------------------------------------------------

    def _save(self, done: int, seconds: float) -> None:
        self._check(done)
        state = whole_state(
            self.weights,
            self.ema,
            self.optimizers,
            self.validation,
            step=done,
            history=self.history,
            window=self.window.settled,
            seconds=seconds,
        )
        if self.group.rank == 0:
            checkpoints.write(self.scratch, state, self.identity, self.mirror)
        else:
            read(state)  # what is in parts is put together by all
        self.pace.wrote()

    def _resume(self) -> tuple[int, float]:
        """(steps done, seconds they took) by the newest whole checkpoint, whose state is loaded; (0, 0) without."""
        rank_0 = self.group.rank == 0
        found = checkpoints.read_newest(self.scratch, self.identity, self.mirror) if rank_0 else None
        state = shared(found, self.group)
        if state is None:
            self.weights.broadcast(self.ema)
            return 0, 0.0
        restore(state, self.weights, self.ema, self.optimizers, self.validation, self.scratch)
        self.history, self.window.settled = list(state.history), list(state.window)
        log.info("going on from step %d of %d", state.step, self.config.steps)
        return state.step, state.seconds
