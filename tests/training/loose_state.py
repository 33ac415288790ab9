"""State that a model keeps outside of its parameters and buffers, where neither checkpoints nor workers find it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from genpipe.model import Model
from genpipe.steps import ProgressFile


def loose_tensors(value: Any, name: str, depth: int = 3) -> Iterator[tuple[str, Tensor]]:
    """Tensors that a module holds outside of its parameters and buffers."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, torch.Generator):
        yield name, value.get_state()
    elif depth and isinstance(value, dict):
        for key, item in value.items():
            yield from loose_tensors(item, f"{name}.{key}", depth - 1)
    elif depth and isinstance(value, list | tuple | set):
        for index, item in enumerate(value):
            yield from loose_tensors(item, f"{name}.{index}", depth - 1)


def loose_state(model: Model) -> dict[str, Tensor]:
    return {
        name: tensor.detach().clone()
        for path, module in model.named_modules()
        for attribute, value in vars(module).items()
        if attribute not in ("_parameters", "_buffers", "_modules")
        for name, tensor in loose_tensors(value, f"{path}.{attribute}".removeprefix("."))
    }


class Snapshot(ProgressFile):
    """The loose state after the first step: what is made once, as a cache is, is no state."""

    def __init__(self, model: Model) -> None:
        super().__init__(None)
        self.model, self.seen = model, dict[str, Tensor]()

    def __call__(self, at: int, total: int | None = None, *, keep: bool = False, **numbers: float) -> None:
        self.seen = self.seen or loose_state(self.model)

    def moved(self) -> list[str]:
        """Names of tensors that moved since and are neither parameters nor buffers."""
        now = loose_state(self.model)
        return [name for name, tensor in self.seen.items() if not torch.equal(tensor, now[name])]
