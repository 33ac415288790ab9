"""Dropout by example."""

from __future__ import annotations

import torch

from genpipe.dropout import Dropout, masks_of
from genpipe.noise import Noise

NOISE = Noise(3, "train", 40)
X = torch.ones(6, 3, 5)


def dropped(x: torch.Tensor, noise: Noise, times: int = 1) -> list[torch.Tensor]:
    layer = Dropout(0.25)
    with masks_of(noise):
        return [layer(x) for _ in range(times)]


def test_an_examples_mask_is_the_same_in_any_cut_of_the_batch():
    whole = dropped(X, NOISE)[0]
    parts = [dropped(X[i:j], NOISE.at(40 + i))[0] for i, j in ((0, 1), (1, 4), (4, 6))]
    assert torch.equal(whole, torch.cat(parts))


def test_masks_differ_from_call_to_call_and_from_example_to_example():
    first, second = dropped(X, NOISE, times=2)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
    assert torch.equal(first, dropped(X, NOISE)[0])


def test_the_mean_is_kept():
    out = dropped(torch.ones(400, 100), NOISE)[0]
    assert set(out.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs(out.mean().item() - 1) < 4 * (0.25 / 0.75 / 40000) ** 0.5


def test_the_gradient_is_the_mask_and_its_type_the_inputs():
    x = X.to(torch.bfloat16).requires_grad_()
    out = dropped(x, NOISE)[0]
    out.sum().backward()
    assert out.dtype == torch.bfloat16
    assert torch.equal(x.grad, out.detach())


def test_evaluation_and_a_rate_of_zero_change_nothing():
    assert Dropout(0.25).eval()(X) is X
    assert Dropout(0.0)(X) is X


def test_without_a_batch_it_draws_as_torchs_does():
    torch.manual_seed(0)
    ours = Dropout(0.25)(X)
    torch.manual_seed(0)
    assert torch.equal(ours, torch.nn.functional.dropout(X, 0.25))
