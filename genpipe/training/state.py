"""The whole state of a training: put together for a checkpoint, put back, and given to every worker of a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genpipe.errors import UsageError
from genpipe.model import Model
from genpipe.training.checkpoints import TrainState
from genpipe.training.group import Group
from genpipe.training.optimizers import LoopOptimizers

TENSORS = ("weights", "ema", "train_state", "optimizers")


def whole_state(
    model: Model,
    ema: Sequence[Tensor],
    optimizers: LoopOptimizers,
    *,
    step: int,
    history: list[dict[str, float]],
    window: list[dict[str, float]],
    seconds: float,
) -> TrainState:
    """All that training goes on from; the tensors are the live ones."""
    names = [name for name, _ in model.named_parameters()]
    return TrainState(
        step=step,
        weights=model.state_dict(),
        ema=dict(zip(names, ema, strict=True)) if ema else {},
        train_state=model.train_state,
        optimizers=optimizers.state(),
        history=history,
        window=window,
        seconds=seconds,
    )


def restore(state: TrainState, model: Model, ema: Sequence[Tensor], optimizers: LoopOptimizers, scratch: Path) -> None:
    """Loads a state's tensors. UsageError where they do not fit the model."""
    try:
        model.load_state_dict(state.weights)
        for name, tensor in model.train_state.items():
            tensor.copy_(state.train_state[name])
        if ema:
            names = [name for name, _ in model.named_parameters()]
            torch._foreach_copy_(list(ema), [state.ema[name].to(model.device) for name in names])
        optimizers.load_state(state.optimizers)
    except (RuntimeError, KeyError, ValueError) as error:
        raise UsageError(
            f"the checkpoint of step {state.step} in {scratch} does not fit this version of family "
            f"'{model.family.name}': {error}; remove the folder to train from the start"
        ) from None


def shared(state: TrainState | None, group: Group) -> TrainState | None:
    """Rank 0's state on every worker; the others give None."""
    if group.size == 1:
        return state
    header = group.tell(None if state is None else _header(state))
    if header is None:
        return None
    if state is None:
        tensors: dict[str, Any] = {kind: _empty(header.pop(kind)) for kind in TENSORS}
        state = TrainState(**tensors, **header)
    group.broadcast([tensor for kind in TENSORS for tensor in getattr(state, kind).values()])
    return state


def _header(state: TrainState) -> dict[str, object]:
    kinds = {kind: _described(getattr(state, kind)) for kind in TENSORS}
    return {
        **kinds,
        "step": state.step,
        "history": state.history,
        "window": state.window,
        "seconds": state.seconds,
    }


def _described(tensors: Mapping[str, Tensor]) -> list[list[object]]:
    return [[name, list(t.shape), str(t.dtype).removeprefix("torch.")] for name, t in tensors.items()]


def _empty(described: Sequence[tuple[str, list[int], str]]) -> dict[str, Tensor]:
    return {name: torch.empty(shape, dtype=getattr(torch, dtype)) for name, shape, dtype in described}
