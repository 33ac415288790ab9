"""The training loop of every family: batches by position, whole-state checkpoints, a check of every loss."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genpipe.components import Family
from genpipe.config import key_values
from genpipe.data import Split
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError, DivergedError, PluginError, UsageError
from genpipe.model import Model
from genpipe.steps import ProgressFile
from genpipe.training import checkpoints
from genpipe.training.checkpoints import TrainState
from genpipe.training.config import TrainConfig
from genpipe.training.feed import Feed
from genpipe.training.optimizers import LoopOptimizers, learning_rate

log = logging.getLogger("genpipe.training")

FULL_PRECISION = nullcontext()
CHECKPOINT_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What training gave besides the weights.

    history: one entry per `log_every` steps: "step", "learning_rate" and each loss term's mean over those steps.
    numbers: final numbers: the last entry's terms, or what a closed-form fit returned.
    steps: steps in all; resumed_from: the step that this process went on from, or None.
    seconds: of this process; seconds_resumed: of earlier attempts, up to the checkpoint that was used.
    steps_per_second: of this process, checkpoints included; 0 for closed forms.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    resumed_from: int | None = None
    seconds: float = 0.0
    seconds_resumed: float = 0.0
    steps_per_second: float = 0.0


def build_model(family: Family, config: Any, spec: DataSpec, *, seed: int) -> Model:
    """The family's model for a data set, its initial weights a function of the seed; global state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = family.builder(config, spec)
    if not isinstance(model, Model):
        raise PluginError(f"family '{family.name}' built a {type(model).__name__}, expected a genpipe.model.Model")
    return model


def train(
    model: Model,
    split: Split,
    config: TrainConfig,
    *,
    seed: int,
    device: torch.device | str,
    scratch: Path,
    progress: ProgressFile,
) -> TrainResult:
    """Trains `model` in place on a split and leaves it in eval mode on `device`.

    Continues from the newest whole checkpoint in `scratch` and then ends, on the CPU, with bitwise the weights
    of a run that was never interrupted: examples, noise and even dropout's numbers are functions of the step.

    Raises DataError on an empty split, UsageError where `scratch` holds another training's checkpoints,
    DivergedError where a loss is not finite, PluginError where the family breaks the contract.
    """
    if len(split) == 0:
        raise DataError(f"split '{split.name}' of data set '{split.spec.name}' has no examples")
    device = torch.device(device)
    model.to(device)
    feed = Feed(split, model.units, seed=seed, device=device, labels=model.family.conditional)
    if model.family.training == "closed_form":
        return _fit(model, feed, config, progress)
    if next(iter(model.parameters()), None) is None:
        raise PluginError(f"family '{model.family.name}' trains by gradients but has no parameters")
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        return _Loop(model, feed, config, seed=seed, scratch=scratch, progress=progress).run()


def _fit(model: Model, feed: Feed, config: TrainConfig, progress: ProgressFile) -> TrainResult:
    start = time.monotonic()
    numbers = model.fit(lambda: feed.one_pass(config.batch_size), progress)
    progress.flush()
    model.eval()
    return TrainResult(numbers=dict(numbers), seconds=time.monotonic() - start)


class _Loop:
    def __init__(
        self,
        model: Model,
        feed: Feed,
        config: TrainConfig,
        *,
        seed: int,
        scratch: Path,
        progress: ProgressFile,
    ) -> None:
        self.model, self.feed, self.config, self.seed = model, feed, config, seed
        self.scratch, self.progress, self.device = scratch, progress, feed.device
        self.optimizers = LoopOptimizers(model, config)
        self.parameters: list[Tensor] = list(model.parameters())
        averaging = config.ema_decay > 0
        self.ema = [p.detach().clone() for p in self.parameters] if averaging else []
        self.history: list[dict[str, float]] = []
        self.identity = {
            "family": model.family.name,
            "model": model.config.model_dump(mode="json"),
            "train": key_values(config),
            "spec": {"name": model.spec.name, "shape": list(model.spec.shape), "levels": model.spec.levels},
            "num_examples": len(feed.split),
            "seed": seed,
        }

    def run(self) -> TrainResult:
        config, model = self.config, self.model
        begun = saved = time.monotonic()
        window: list[Mapping[str, Tensor]] = []  # terms of each step since the last logged entry
        first, seconds_before = self._resume(window)
        model.train()
        immediate = self.device.type == "cpu"  # reading a loss there waits for nothing
        for step in range(first, config.steps):
            terms = self._step(step)
            window.append(terms)
            if immediate and not math.isfinite(terms["loss"].item()):
                self._diverged(step, terms)
            done = step + 1
            if done % config.log_every == 0 or done == config.steps:
                self._log(step, window)
                window = []
            else:
                self.progress(done, config.steps)
            if done < config.steps and self._is_due(done, saved):
                self._check(done, window)
                saved = time.monotonic()
                self._save(done, window, seconds_before + saved - begun)
        self._check(config.steps, window)
        if self.ema:
            with torch.no_grad():
                torch._foreach_copy_(self.parameters, self.ema)
        model.zero_grad()
        model.eval()
        seconds = time.monotonic() - begun
        numbers = {k: v for k, v in self.history[-1].items() if k not in ("step", "learning_rate")}
        return TrainResult(
            history=self.history,
            numbers=numbers,
            steps=config.steps,
            resumed_from=first or None,
            seconds=seconds,
            seconds_resumed=seconds_before,
            steps_per_second=(config.steps - first) / max(seconds, 1e-9),
        )

    def _is_due(self, done: int, saved: float) -> bool:
        """Whether to write a checkpoint: a synced one costs as much as many steps of a small model."""
        every = self.config.checkpoint_every
        return time.monotonic() - saved > CHECKPOINT_SECONDS if every is None else done % every == 0

    def _step(self, step: int) -> Mapping[str, Tensor]:
        config, count = self.config, self.config.batch_size // self.config.accumulation
        total: dict[str, Tensor] = {}
        for micro in range(config.accumulation):
            self.optimizers.begin(step, micro)
            batch = self.feed.batch(step * config.batch_size + micro * count, count)
            # Dropout and the like draw from torch's own generators: seeded here, they too depend on the step alone.
            self._seed_generators(step * config.accumulation + micro)
            with self._precision():
                terms = self.model.train_step(batch, self.optimizers, step)
            self._check_terms(terms)
            if config.accumulation == 1:
                total = {name: term.detach() for name, term in terms.items()}
            else:
                for name, term in terms.items():
                    share = term.detach() / config.accumulation
                    total[name] = total[name] + share if name in total else share
        if self.ema:
            # The decay rises with the step, so that the initial weights are soon forgotten.
            decay = min(config.ema_decay, (1 + step) / (10 + step))
            with torch.no_grad():
                torch._foreach_lerp_(self.ema, self.parameters, 1 - decay)
        return total

    def _seed_generators(self, counter: int) -> None:
        seed = (self.seed * 0x9E3779B97F4A7C15 + counter * 0xD1B54A32D192ED03) % 2**63
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _precision(self) -> AbstractContextManager[Any]:
        if self.config.precision == "float32":
            return FULL_PRECISION
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _check_terms(self, terms: Any) -> None:
        if not isinstance(terms, Mapping) or not isinstance(terms.get("loss"), Tensor):
            keys = f"a mapping with {sorted(terms)}" if isinstance(terms, Mapping) else f"a {type(terms).__name__}"
            raise PluginError(
                f"family '{self.model.family.name}': train_step gave {keys}, expected a mapping of scalar tensors with 'loss'"
            )
        for name, term in terms.items():
            if not isinstance(term, Tensor) or term.ndim != 0:
                given = f"shape {tuple(term.shape)}" if isinstance(term, Tensor) else f"type {type(term).__name__}"
                raise PluginError(
                    f"family '{self.model.family.name}': the loss term '{name}' has {given}, expected a scalar tensor"
                )

    def _log(self, step: int, window: list[Mapping[str, Tensor]]) -> None:
        """Means over the steps since the last entry; on an accelerator the one place that waits for it."""
        self._find_divergence(step + 1 - len(window), window)
        means = {name: float(torch.stack([t[name] for t in window if name in t]).mean()) for name in window[-1]}
        entry = {"step": step + 1, "learning_rate": learning_rate(self.config, step), **means}
        self.history.append(entry)
        self.progress(step + 1, self.config.steps, keep=True, **{k: v for k, v in entry.items() if k != "step"})

    def _find_divergence(self, first: int, window: list[Mapping[str, Tensor]]) -> None:
        if window:
            finite = torch.stack([terms["loss"] for terms in window]).isfinite().tolist()
            if not all(finite):
                bad = finite.index(False)
                self._diverged(first + bad, window[bad])

    def _check(self, done: int, window: list[Mapping[str, Tensor]]) -> None:
        """Before weights are kept: a finite loss can still have sent them to infinity."""
        self._find_divergence(done - len(window), window)
        if not checkpoints.all_finite(self.parameters):
            self._diverged(done - 1, window[-1] if window else {}, "the weights are not finite after this step")

    def _diverged(self, step: int, terms: Mapping[str, Tensor], what: str = "the loss is not finite") -> None:
        values = ", ".join(f"{name} {float(term):g}" for name, term in terms.items())
        kept = checkpoints.list_checkpoints(self.scratch)
        last = f"the last good checkpoint is {kept[0]}" if kept else "no checkpoint was written before"
        clip = "set clip_norm" if self.config.clip_norm is None else f"lower clip_norm (now {self.config.clip_norm:g})"
        raise DivergedError(
            f"family '{self.model.family.name}' diverged at step {step + 1} of {self.config.steps}: {what}"
            f"{f' ({values})' if values else ''}; {last}. Lower learning_rate (now {self.config.learning_rate:g}) or {clip}"
        )

    # -- checkpoints ----------------------------------------------------------------------------------------

    def _save(self, done: int, window: list[Mapping[str, Tensor]], seconds: float) -> None:
        names = [name for name, _ in self.model.named_parameters()]
        state = TrainState(
            step=done,
            weights=self.model.state_dict(),
            ema=dict(zip(names, self.ema, strict=True)) if self.ema else {},
            optimizers=self.optimizers.state(),
            history=self.history,
            window=[{name: float(term) for name, term in terms.items()} for terms in window],
            seconds=seconds,
        )
        checkpoints.write(self.scratch, state, self.identity)

    def _resume(self, window: list[Mapping[str, Tensor]]) -> tuple[int, float]:
        """(steps done, seconds they took) by the newest whole checkpoint, whose state is loaded; (0, 0) without."""
        state = checkpoints.read_newest(self.scratch, self.identity)
        if state is None:
            return 0, 0.0
        try:
            self.model.load_state_dict(state.weights)
            if self.ema:
                names = [name for name, _ in self.model.named_parameters()]
                torch._foreach_copy_(self.ema, [state.ema[name].to(self.device) for name in names])
            self.optimizers.load_state(state.optimizers)
        except (RuntimeError, KeyError, ValueError) as error:
            raise UsageError(
                f"the checkpoint of step {state.step} in {self.scratch} does not fit this version of family "
                f"'{self.model.family.name}': {error}; remove the folder to train from the start"
            ) from None
        self.history = list(state.history)
        window.extend({k: torch.tensor(v, device=self.device) for k, v in terms.items()} for terms in state.window)
        log.info("going on from step %d of %d", state.step, self.config.steps)
        return state.step, state.seconds
