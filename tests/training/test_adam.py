"""The loop's optimiser and clipping are torch's own, bit for bit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from genpipe.networks.layout import inputs_outermost
from genpipe.training.adam import FusedAdam
from genpipe.training.weights import clip_gradients


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        middle = nn.Linear(5, 4)
        inputs_outermost(middle)  # another order in memory
        return nn.Sequential(nn.Linear(3, 5), nn.SiLU(), middle, nn.Linear(4, 1, bias=False))


def gradients(model: nn.Module, step: int, *, missing: bool = False) -> None:
    """Of a loss that grows with the steps, and at some of them does not reach the last layer."""
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator) * (1 + step) ** 2
    if missing:
        next(iter(reversed(list(model.parameters())))).grad = None


@pytest.mark.parametrize("decoupled", [True, False])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("missing_at", [(), (0,), (2, 3)])
def test_it_moves_as_torchs_does_whichever_parameters_have_a_gradient(
    decoupled: bool, weight_decay: float, missing_at: tuple[int, ...]
) -> None:
    theirs, ours = network(), network()
    options: dict[str, Any] = {"lr": 1e-2, "betas": (0.8, 0.95), "weight_decay": weight_decay}
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    reference = kind(theirs.parameters(), fused=True, **options)
    optimizer = FusedAdam(list(ours.parameters()), decoupled=decoupled, **options)
    for step in range(8):
        for model, chosen in ((theirs, reference), (ours, optimizer)):
            gradients(model, step, missing=step in missing_at)
            chosen.param_groups[0]["lr"] = 1e-2 / (1 + step)
        reference.step()
        optimizer.move()
        if step == 5:  # goes on from what it was
            optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for expected, found in zip(theirs.parameters(), ours.parameters(), strict=True):
        assert torch.equal(expected, found)
    expected_state, state = reference.state_dict()["state"], optimizer.state_dict()["state"]
    assert expected_state.keys() == state.keys()
    for index, entries in expected_state.items():
        assert all(torch.equal(value, state[index][name]) for name, value in entries.items())
    optimizer.clear()
    assert all(parameter.grad is None for parameter in ours.parameters())


@pytest.mark.parametrize("norm", [0.05, 3.0, 1e6])
@pytest.mark.parametrize("missing", [True, False])
def test_it_clips_as_torch_does(norm: float, missing: bool) -> None:
    theirs, ours = network(), network()
    for model in (theirs, ours):
        gradients(model, 1, missing=missing)
    nn.utils.clip_grad_norm_(theirs.parameters(), norm, foreach=True)
    clip_gradients(list(ours.parameters()), norm)
    for expected, found in zip(theirs.parameters(), ours.parameters(), strict=True):
        assert (expected.grad is None) == (found.grad is None)
        assert expected.grad is None or torch.equal(expected.grad, found.grad)


def test_nothing_to_clip_is_no_mistake() -> None:
    clip_gradients(list(network().parameters()), 1.0)
