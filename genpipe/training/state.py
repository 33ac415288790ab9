"""The whole state of a training: put together for a checkpoint, put back, and given to every worker of a group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from genpipe.errors import UsageError
from genpipe.training.checkpoints import TrainState
from genpipe.training.group import Group
from genpipe.training.optimizers import LoopOptimizers
from genpipe.training.validation import Validation
from genpipe.training.weights import Weights

TENSORS = ("weights", "ema", "train_state", "optimizers", "best", "best_buffers")


def whole_state(
    weights: Weights,
    ema: Sequence[Tensor],
    optimizers: LoopOptimizers,
    validation: Validation | None,
    *,
    step: int,
    history: list[dict[str, float]],
    window: list[dict[str, float]],
    seconds: float,
) -> TrainState:
    """All that training goes on from. The tensors are the live ones, or are put together as they are read."""
    names = [name for name, _ in weights.model.named_parameters()]
    averages = zip(ema, weights.parameters, strict=True) if ema else ()
    best, best_buffers = ({}, {}) if validation is None else validation.tensors()
    return TrainState(
        step=step,
        weights=weights.state(),
        ema=weights.whole(dict(zip(names, averages, strict=False))),
        train_state=weights.model.train_state,
        optimizers=optimizers.state(),
        best=best,
        best_buffers=best_buffers,
        validation={} if validation is None else validation.facts(),
        history=history,
        window=window,
        seconds=seconds,
    )


def read(state: TrainState) -> None:
    """Reads all tensors in the order of `checkpoints.write`, and keeps none."""
    for kind in TENSORS:
        for _ in getattr(state, kind).values():
            pass


def restore(
    state: TrainState,
    weights: Weights,
    ema: Sequence[Tensor],
    optimizers: LoopOptimizers,
    validation: Validation | None,
    scratch: Path,
) -> None:
    """Loads a state's tensors, each read once and in order. UsageError where they do not fit the model."""
    model = weights.model
    try:
        weights.load(state.weights)
        if ema:
            names = [name for name, _ in model.named_parameters()]
            parameters = dict(zip(names, weights.parameters, strict=True))
            parts = {name: weights.part(tensor, parameters[name]) for name, tensor in state.ema.items()}
            torch._foreach_copy_(list(ema), [parts[name].to(ema[0].device) for name in names])
        train_state = dict(state.train_state)
        for name, tensor in model.train_state.items():
            tensor.copy_(train_state[name])
        optimizers.load_state(state.optimizers)
        if validation is not None:
            validation.load(state.best, state.best_buffers, state.validation)
    except (RuntimeError, KeyError, ValueError) as error:
        raise UsageError(
            f"the checkpoint of step {state.step} in {scratch} does not fit this version of family "
            f"'{model.family.name}': {error}; remove the folder to train from the start"
        ) from None


def shared(state: TrainState | None, group: Group) -> TrainState | None:
    """Rank 0's state for every worker, to be read by all in the same order; the others give None."""
    if group.size == 1:
        return state
    header = group.tell(None if state is None else _header(state))
    if header is None:
        return None
    told = {kind: Told(header[kind], None if state is None else getattr(state, kind), group) for kind in TENSORS}
    return TrainState(**{**header, **told})


class Told(Mapping[str, Tensor]):
    """Rank 0's tensors, each sent when it is read: a worker that keeps parts need not have room for all of them."""

    def __init__(
        self, described: Sequence[tuple[str, list[int], str]], own: Mapping[str, Tensor] | None, group: Group
    ) -> None:
        self._described = {name: (shape, getattr(torch, dtype)) for name, shape, dtype in described}
        self._own, self._group = own, group

    def __getitem__(self, name: str) -> Tensor:
        shape, dtype = self._described[name]
        tensor = torch.empty(shape, dtype=dtype) if self._own is None else self._own[name]
        self._group.broadcast([tensor])
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._described)

    def __len__(self) -> int:
        return len(self._described)


def _header(state: TrainState) -> dict[str, object]:
    kinds = {kind: _described(getattr(state, kind)) for kind in TENSORS}
    return {
        **kinds,
        "step": state.step,
        "validation": dict(state.validation),
        "history": state.history,
        "window": state.window,
        "seconds": state.seconds,
    }


def _described(tensors: Mapping[str, Tensor]) -> list[list[object]]:
    return [[name, list(t.shape), str(t.dtype).removeprefix("torch.")] for name, t in tensors.items()]
