"""Transformer and LSTMs: what each number may see, and samples one by one that are those of a full pass for each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.noise import Noise
from genpipe.plugins.autoregressive.config import AutoregressiveConfig
from genpipe.plugins.autoregressive.model import Autoregressive, build
from genpipe.plugins.autoregressive.raster import Raster
from genpipe.plugins.autoregressive.tokens import draw

BOTH = pytest.mark.parametrize("network", ["transformer", "recurrent"])
SHAPES = pytest.mark.parametrize("shape", [(1, 4, 3), (3, 2, 3), (7,)], ids=str)


def made(network: str, shape: tuple[int, ...], levels: int, num_classes: int = 0, **options: Any) -> Autoregressive:
    """A model whose numbers depend on each other."""
    torch.manual_seed(0)
    event = "image" if len(shape) == 3 else "sequence"
    spec = DataSpec(name="tokens", event=event, shape=shape, levels=levels, num_classes=num_classes or None)
    small = {"channels": 12, "num_layers": 2, "num_heads": 2, "conditional": num_classes > 0}
    model = build(AutoregressiveConfig(network=network, **{**small, **options}), spec).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.7)
    return model


def one_by_one(model: Autoregressive, num: int, y: Tensor | None, noise: Noise) -> Tensor:
    """Levels (num, *shape) by a full pass for each number."""
    net = model.network
    u = noise.uniform("pixels", (num, net.raster.length))
    tokens = torch.zeros(u.shape, dtype=torch.int64)
    for place in range(net.raster.length):
        tokens[:, place] = draw(net(tokens, y)[:, place], u[:, place])
    return net.raster.unflatten(tokens, net.shape)


@BOTH
@SHAPES
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_samples_with_what_was_kept_are_those_of_a_full_pass_per_number(network, shape, dtype):
    # In float32 too: with these seeds no uniform falls within rounding of a decision's edge.
    model, noise = made(network, shape, 9, num_classes=3).to(dtype), Noise(0, "sample", 5)
    y = torch.arange(6) % 3
    with torch.no_grad():
        naive = one_by_one(model, 6, y, noise)
        assert torch.equal(model.network.sample(6, y, noise, torch.device("cpu")), naive)
        part = model.network.sample(2, y[3:5], noise.at(8), torch.device("cpu"))
    assert torch.equal(part, naive[3:5])
    assert len(naive.unique()) > 4


@BOTH
@SHAPES
def test_logits_feel_all_numbers_before_them_and_nothing_else(network, shape):
    net = made(network, shape, 5, num_layers=1).double().network
    length = net.raster.length
    tokens = torch.randint(5, (1, length))
    changed = tokens.repeat(length, 1)
    changed[range(length), range(length)] = (changed.diagonal() + 1) % 5
    with torch.no_grad():
        feels = ((net(changed) - net(tokens)).abs() > 1e-10).any(-1).T  # (at, what changed)
    at = torch.arange(length)
    assert torch.equal(feels, at[None] < at[:, None])


@given(st.tuples(*[st.integers(1, 5)] * 3))
@settings(max_examples=25, deadline=None)
def test_neighbours_come_before_and_a_raster_goes_there_and_back(shape):
    raster = Raster.of(shape)
    neighbours, at = raster.neighbours(), torch.arange(raster.length)
    assert bool(((neighbours < at) | (neighbours == raster.length)).all())
    assert torch.equal(neighbours[0, 1:], at[:-1])
    x = torch.arange(2 * raster.length).view(2, *shape)
    row = raster.flatten(x)
    assert torch.equal(raster.unflatten(row, shape), x)
    i, j, c = raster.places()
    assert torch.equal(row, x[:, c, i, j])


def test_a_pixels_neighbours_are_those_beside_and_above_it():
    raster = Raster(3, 4, 5)

    def at(channel: int, i: int, j: int) -> int:
        return (i * 5 + j) * 3 + channel

    found = raster.neighbours()[:, at(2, 2, 2)].tolist()
    same = [at(2, 2, 1), at(2, 1, 1), at(2, 1, 2), at(2, 1, 3)]
    assert found == [at(1, 2, 2), *same, at(1, 2, 2), at(0, 2, 2)]
    assert raster.neighbours()[:, 0].tolist() == [60] * len(found)


def test_draws_follow_the_shares_and_never_take_what_has_none():
    logits = torch.tensor([[-200.0, 0.0, 0.0, -200.0]])
    u = torch.tensor([0.0, 0.49, 0.51, 1 - 2**-24])
    assert draw(logits.expand(4, -1), u).tolist() == [1, 1, 2, 2]
    numbers = draw(torch.tensor([0.1, 0.2, 0.7]).log().expand(10_000, -1), torch.linspace(0, 0.9999, 10_000))
    assert numbers.bincount().tolist() == pytest.approx([1000, 2000, 7000], abs=2)


def test_tokens_of_a_large_codebook_have_the_datas_type():
    model = made("transformer", (4,), 600)
    x = model.sample(3)
    assert x.dtype == torch.int32
    assert model.log_prob(x).nats.isfinite().all()


@pytest.mark.parametrize("network", ["gated_pixelcnn", "pixelcnn_pp"])
def test_networks_of_pixels_refuse_sequences_and_name_those_that_take_them(network):
    with pytest.raises(
        UsageError, match="models images, and 'tokens' has sequences: set network to one of transformer"
    ):
        made(network, (6,), 4)
