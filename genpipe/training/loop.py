"""Training of every family: one way in, whether by gradients or in closed form."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch

from genpipe.components import Family
from genpipe.data import Split
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError, PluginError, UsageError, first_line
from genpipe.model import Model
from genpipe.steps import ProgressFile
from genpipe.stores import StoredFolder
from genpipe.training import checkpoints
from genpipe.training.config import TrainConfig
from genpipe.training.descent import Descent
from genpipe.training.feed import Feed
from genpipe.training.group import Group
from genpipe.training.result import TrainResult as TrainResult

log = logging.getLogger("genpipe.training")

TOO_LARGE = ("can't allocate memory", "out of memory", "size calculation overflowed")
"""How torch says that there is no memory for a tensor."""


def build_model(family: Family, config: Any, spec: DataSpec, *, seed: int) -> Model:
    """The family's model for a data set, its initial weights a function of the seed; global state is left alone.

    UsageError where its weights are more than memory holds.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = family.builder(config, spec)
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or any(words in str(error) for words in TOO_LARGE):
            raise UsageError(
                f"a model of family '{family.name}' of this size does not fit in memory: lower the sizes in its config "
                f"({first_line(error)})"
            ) from error
        raise
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
    group: Group | None = None,
    stored: StoredFolder | None = None,
    validation: Split | None = None,
) -> TrainResult:
    """Trains `model` in place on a split and leaves it in eval mode on `device`.

    Continues from the newest whole checkpoint in `scratch` and then ends, on the CPU and with as many workers, with
    bitwise the weights of a run that was never interrupted: examples, noise and dropout's masks are functions of the
    step.

    group: the workers that share each batch, all of which call this with the same arguments. They end with the same
    weights, those of one worker to rounding, and the same result. Rank 0 alone reads and writes checkpoints, the
    finished state too, and reports progress. Where they keep the weights in parts, the model is left on the CPU.

    validation: what `config.validate_every` looks at; the model then ends with the weights that did best there.

    stored: what `scratch` is in a store, which is sent every checkpoint, and asked for those of other machines.

    Raises DataError on an empty split, or where there is none to validate on, UsageError where `scratch` holds another
    training's checkpoints, DivergedError where a loss is not finite, PluginError where the family breaks the contract,
    GroupLost where another worker died. A group raises the first four on all workers, or its worker with the mistake does.
    """
    group = group or Group()
    if len(split) == 0:
        raise DataError(f"split '{split.name}' of data set '{split.spec.name}' has no examples")
    if model.conditional and split.y is None:
        raise DataError(
            f"family '{model.family.name}' models each class by its label, and split '{split.name}' of data set "
            f"'{split.spec.name}' has no labels"
        )
    absent = [k for k, share in enumerate(split.spec.class_fractions or ()) if share == 0]
    if model.conditional and absent and group.rank == 0:
        log.warning(
            "%d of %d classes of data set '%s' have no training examples, first class %d: what the model draws of them is "
            "made up",
            len(absent),
            split.spec.num_classes,
            split.spec.name,
            absent[0],
        )
    device = torch.device(device)
    feed = Feed(split, model.units, seed=seed, device=device, labels=model.conditional)
    if model.family.training == "closed_form":
        if group.size > 1:
            raise UsageError(f"family '{model.family.name}' is fitted in closed form, by one worker")
        model.to(device)
        return _fit(model, feed, config, progress)
    if next(iter(model.parameters()), None) is None:
        raise PluginError(f"family '{model.family.name}' trains by gradients but has no parameters")
    watched = None
    if config.validate_every is not None:
        watched = _watched(validation, model, seed, device)
    devices = [device] if device.type == "cuda" else []
    stored = stored if group.rank == 0 else None
    with torch.random.fork_rng(devices=devices), checkpoints.mirror_at(stored) as mirror:
        descent = Descent(
            model,
            feed,
            config,
            seed=seed,
            scratch=scratch,
            progress=progress,
            group=group,
            mirror=mirror,
            watched=watched,
        )
        result = descent.run()
        if mirror is not None and group.size > 1:
            mirror.arrive()  # who asked the group to train may be on another machine
        return result


def _watched(validation: Split | None, model: Model, seed: int, device: torch.device) -> Feed:
    if validation is None or len(validation) == 0:
        raise DataError("train.validate_every: there is no validation split; set data.validation_fraction above 0")
    return Feed(validation, model.units, seed=seed, device=device, labels=model.conditional)


def _fit(model: Model, feed: Feed, config: TrainConfig, progress: ProgressFile) -> TrainResult:
    start = time.monotonic()
    numbers = model.fit(lambda: feed.one_pass(config.batch_size), progress)
    progress.flush()
    model.eval()
    return TrainResult(numbers=dict(numbers), seconds=time.monotonic() - start)
