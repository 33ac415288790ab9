"""What the loop hands to `Model.train_step`: it owns precision, clipping, accumulation and the learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from genpipe.errors import PluginError
from genpipe.model import Model
from genpipe.training.config import TrainConfig


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

    `begin(step, micro)` says which micro-batch the next calls of `minimize` belong to; gradients are averaged
    over the micro-batches of a step, and the last one moves the weights.
    """

    def __init__(self, model: Model, config: TrainConfig) -> None:
        self.config, self.family = config, model.family.name
        groups = {name: [p for p in group if p.requires_grad] for name, group in model.parameter_groups().items()}
        self.parameters: dict[str, list[nn.Parameter]] = groups
        kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            name: kind(
                group,
                lr=config.learning_rate,
                betas=config.betas,
                weight_decay=config.weight_decay,
                fused=True,
            )
            for name, group in groups.items()
        }
        self._device_type = model.device.type
        # A loss of one group reaches the others' parameters too; `inputs` keeps their gradients clean. A lone
        # group needs no such filter, and is faster without.
        self._alone = len(groups) == 1
        self._micro, self._minimized = 0, set[str]()

    def begin(self, step: int, micro: int) -> None:
        self._micro = micro
        self._minimized.clear()
        if micro == 0:
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
        count = self.config.accumulation
        if count > 1:
            if group in self._minimized:
                raise PluginError(
                    f"family '{self.family}' steps the group '{group}' more than once per batch, which cannot be "
                    "accumulated over micro-batches: set accumulation to 1"
                )
            self._minimized.add(group)
            loss = loss / count
        optimizer, parameters = self.optimizers[group], self.parameters[group]
        if self._micro == 0:
            optimizer.zero_grad()
        if self.config.precision == "float32":
            loss.backward(inputs=None if self._alone else parameters)
        else:
            with torch.autocast(self._device_type, enabled=False):  # casts belong to the forward pass alone
                loss.backward(inputs=None if self._alone else parameters)
        if self._micro == count - 1:
            if self.config.clip_norm is not None:
                nn.utils.clip_grad_norm_(parameters, self.config.clip_norm, foreach=True)
            optimizer.step()

    def state(self) -> dict[str, Tensor]:
        """The optimisers' tensors, by "group/parameter/name"."""
        return {
            f"{name}/{index}/{key}": value
            for name, optimizer in self.optimizers.items()
            for index, entries in optimizer.state_dict()["state"].items()
            for key, value in entries.items()
        }

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        for name, optimizer in self.optimizers.items():
            state: dict[int, dict[str, Any]] = {}
            for path, value in tensors.items():
                group, index, key = path.rsplit("/", 2)
                if group == name:
                    state.setdefault(int(index), {})[key] = value
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
