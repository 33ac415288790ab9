"""Watching held-out examples while a model trains: the weights that did best on them are what training ends with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from genpipe.errors import UsageError
from genpipe.model import Batch, Model
from genpipe.training.config import TrainConfig
from genpipe.training.feed import Feed
from genpipe.training.group import Group
from genpipe.training.weights import Weights


class Validation:
    """The loss of the validation split every `validate_every` steps, by the weights that training would end with then.

    It is of the same examples with the same random numbers each time, a mean over all of them, and the same bits on
    every worker. best_step, best_loss: the lowest so far, None before the first; num_worse: looks since then.
    """

    def __init__(
        self,
        feed: Feed,
        config: TrainConfig,
        weights: Weights,
        averages: Sequence[Tensor],
        group: Group,
        computing: Callable[[int, Batch], AbstractContextManager[Any]],
    ) -> None:
        """feed: of the validation split; averages: of `weights.parameters`, or none. computing: around each evaluation,
        given its place and its batch."""
        check_can_be_watched(weights.model)
        self.feed, self.config, self.weights, self.group, self._computing = feed, config, weights, group, computing
        self._averages = averages
        kept = weights.model.state_dict().keys()
        self._buffers = {name: buffer for name, buffer in weights.model.named_buffers() if name in kept}
        self._best: list[Tensor] = []
        self._best_buffers: dict[str, Tensor] = {}
        self.best_step: int | None = None
        self.best_loss: float | None = None
        self.num_worse = 0

    def is_due(self, done: int) -> bool:
        """After which steps it looks: the last is one of them."""
        assert self.config.validate_every is not None
        return done % self.config.validate_every == 0 or done == self.config.steps

    @property
    def says_stop(self) -> bool:
        """Whether there were as many looks without a better loss as training has patience for."""
        return self.config.patience is not None and self.num_worse >= self.config.patience

    @torch.no_grad()
    def look(self, done: int) -> float:
        """The loss after `done` steps. All workers look at once."""
        parameters: list[Tensor] = list(self.weights.parameters)
        mine = [p.clone() for p in parameters] if self._averages else []
        if self._averages:
            torch._foreach_copy_(parameters, list(self._averages))
        self.weights.model.eval()
        try:
            loss = self._loss()
            if self.best_loss is None or loss < self.best_loss:
                self.best_loss, self.best_step, self.num_worse = loss, done, 0
                self._best = [p.clone() for p in parameters]
                self._best_buffers = {name: buffer.clone() for name, buffer in self._buffers.items()}
            else:
                self.num_worse += 1
        finally:
            self.weights.model.train()
            if mine:
                torch._foreach_copy_(parameters, mine)
        return loss

    def _loss(self) -> float:
        model, total = self.weights.model, torch.zeros((), dtype=torch.float64, device=self.feed.device)
        for batch, count in self._batches():
            with self._computing(batch.noise.first_index, batch):
                loss = model.validation_loss(batch.z, batch.y, batch.noise)
            total += count * loss.double()
        self.group.sum([total])
        return float(total) / len(self.feed.split)

    def _batches(self) -> Iterator[tuple[Batch, int]]:
        """This worker's part of each batch, and how many of its examples count.

        All workers evaluate equally often, as those need that hold weights in parts: one that has nothing left of a
        batch evaluates an example that does not count.
        """
        num, rank, size = len(self.feed.split), self.group.rank, self.group.size
        together = self.config.batch_size // self.config.accumulation
        for start in range(0, num, together):
            here = min(together, num - start)
            first, stop = start + here * rank // size, start + here * (rank + 1) // size
            yield self.feed.stretch(first, max(stop - first, 1), "validation"), stop - first

    @torch.no_grad()
    def take_best(self) -> None:
        """The model gets the weights and buffers that did best."""
        if self._best:
            torch._foreach_copy_(list(self.weights.parameters), self._best)
            for name, buffer in self._best_buffers.items():
                self._buffers[name].copy_(buffer)

    # -- at rest --------------------------------------------------------------------------------------------

    def tensors(self) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The best weights, whole, and the best buffers; see Weights.whole."""
        names = [name for name, _ in self.weights.model.named_parameters()]
        pairs = zip(self._best, self.weights.parameters, strict=True) if self._best else ()
        return self.weights.whole(dict(zip(names, pairs, strict=False))), self._best_buffers

    def facts(self) -> dict[str, Any]:
        return {"best_step": self.best_step, "best_loss": self.best_loss, "num_worse": self.num_worse}

    def load(self, best: Mapping[str, Tensor], buffers: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Takes what `tensors` and `facts` gave."""
        self.best_step, self.best_loss, self.num_worse = (
            facts[name] for name in ("best_step", "best_loss", "num_worse")
        )
        names = [name for name, _ in self.weights.model.named_parameters()]
        parameters = dict(zip(names, self.weights.parameters, strict=True))
        device = self.feed.device
        parts = {name: self.weights.part(tensor, parameters[name]).to(device) for name, tensor in best.items()}
        self._best = [parts[name] for name in names] if parts else []
        self._best_buffers = {name: tensor.to(device) for name, tensor in buffers.items()}


def check_can_be_watched(model: Model) -> None:
    """UsageError where the family has no loss of held-out examples."""
    cls = type(model)
    if cls.loss is Model.loss and cls.validation_loss is Model.validation_loss:
        raise UsageError(
            f"train.validate_every: family '{model.family.name}' has no loss of held-out examples to watch; leave it out "
            "(null) for this family"
        )
