"""What the loop hands to `Model.train_step`: it owns precision, clipping, accumulation and the learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from genpipe.errors import PluginError, UsageError
from genpipe.training.adam import FusedAdam
from genpipe.training.config import TrainConfig
from genpipe.training.weights import Weights
from genpipe.training.whole_batch import WholeBatch


def learning_rate(config: TrainConfig, step: int) -> float:
    """The rate of step 0 … steps − 1: a linear rise, then constant or half a cosine down to zero."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


class LoopOptimizers:
    """One optimiser per parameter group of the model (`genpipe.model.Optimizers`).

    `begin` says which micro-batch the next calls belong to. The gradient of a batch is the mean over its examples:
    micro-batches and workers, each weighed by its number of examples, are summed; then the last micro-batch moves
    the weights, by the same numbers on every worker. `totals` gives what `sum` and `rows` gathered over the batch.
    """

    def __init__(self, weights: Weights, config: TrainConfig) -> None:
        model = weights.model
        self.config, self.family, self.weights = config, model.family.name, weights
        groups = {
            name: weights.kept(p for p in group if p.requires_grad) for name, group in model.parameter_groups().items()
        }
        self.parameters: dict[str, list[nn.Parameter]] = groups
        self.optimizers = {
            name: FusedAdam(
                group,
                lr=config.learning_rate,
                betas=config.betas,
                weight_decay=config.weight_decay,
                decoupled=config.optimizer == "adamw",
            )
            for name, group in groups.items()
        }
        self._device_type = model.device.type
        # A loss of one group reaches the others' parameters too; `inputs` keeps their gradients clean. A lone
        # group needs no such filter, and is faster without.
        self._alone = len(groups) == 1
        self._first = self._last = True
        self._weight = 1.0
        self._minimized = ""
        self._batch = WholeBatch(weights.group, config.batch_size, self.family)

    def begin(self, step: int, *, first: int = 0, count: int | None = None, is_first: bool, is_last: bool) -> None:
        """What comes next is of examples `first … first + count − 1` of step's batch.

        is_first, is_last: whether it is the first, the last of this worker's micro-batches.
        """
        count = self.config.batch_size if count is None else count
        self._first, self._last, self._weight = is_first, is_last, count / self.config.batch_size
        self._minimized = ""
        self._batch.begin(first, count)
        if is_first:
            rate = learning_rate(self.config, step)
            for optimizer in self.optimizers.values():
                for group in optimizer.param_groups:
                    group["lr"] = rate

    def minimize(self, loss: Tensor, group: str = "model") -> None:
        """Backward, and one optimiser step where this is the last micro-batch."""
        if group not in self.optimizers:
            known = ", ".join(sorted(self.optimizers))
            raise PluginError(f"family '{self.family}' minimises the group '{group}'; its parameter_groups are {known}")
        if not isinstance(loss, Tensor) or loss.ndim != 0:
            given = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise PluginError(f"family '{self.family}' gave {given} as its loss, expected a scalar tensor")
        if not loss.requires_grad:
            raise PluginError(f"the loss of family '{self.family}' depends on no parameter")
        if not (self._first and self._last):
            if self._minimized:  # by now the last micro-batch's weights would have moved, and the others' had not
                raise UsageError(
                    f"train.accumulation is {self.config.accumulation}, and family '{self.family}' steps more than "
                    f"once per batch ({self._minimized}, then {group}), which micro-batches cannot: set it to 1"
                )
            self._minimized = group
        if self._weight != 1:
            loss = loss * self._weight
        optimizer, parameters = self.optimizers[group], self.parameters[group]
        if self._first:
            optimizer.clear()
        if self.config.precision == "float32":
            self.weights.backward(loss, None if self._alone else parameters)
        else:
            with torch.autocast(self._device_type, enabled=False):  # casts belong to the forward pass alone
                self.weights.backward(loss, None if self._alone else parameters)
        if self._last:
            self.weights.sum_gradients(parameters)
            if self.config.clip_norm is not None:
                self.weights.clip(parameters, self.config.clip_norm)
            optimizer.move()
            if self.config.precision != "float32":
                torch.clear_autocast_cache()  # it keeps casts of the weights that have just moved
        self.weights.go_on()

    def sum(self, name: str, value: Tensor) -> None:
        self._batch.sum(name, value)

    def rows(self, name: str, value: Tensor) -> None:
        self._batch.rows(name, value)

    def totals(self) -> dict[str, Tensor]:
        """What `sum` and `rows` were given since the first micro-batch, over all micro-batches and workers."""
        return self._batch.totals()

    def state(self) -> Mapping[str, Tensor]:
        """The optimisers' tensors, by "group/parameter/name", whole."""
        return self.weights.whole(
            {
                f"{name}/{index}/{key}": (value, self.parameters[name][index])
                for name, optimizer in self.optimizers.items()
                for index, entries in optimizer.state_dict()["state"].items()
                for key, value in entries.items()
            }
        )

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes what `state` gave."""
        states: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in self.optimizers}
        for path, value in tensors.items():
            name, index, key = path.rsplit("/", 2)
            parameter = self.parameters[name][int(index)]
            value = self.weights.part(value, parameter)
            # The fused step goes through memory in order: moments must lie as their parameter does.
            if value.shape == parameter.shape:
                value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
            states[name].setdefault(int(index), {})[key] = value
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict({"state": states[name], "param_groups": optimizer.state_dict()["param_groups"]})
