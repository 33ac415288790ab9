"""MADE as a density: probabilities that add up over the orders, and draws from them."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal

from genpipe.components import load_reference
from genpipe.data import Split
from genpipe.dataspec import DataSpec
from genpipe.dropout import masks_of
from genpipe.errors import UsageError
from genpipe.model import Model
from genpipe.networks.labels import one_hot
from genpipe.noise import Noise
from genpipe.plugins.autoregressive import density, model
from genpipe.plugins.autoregressive.config import AutoregressiveConfig, MADEConfig
from genpipe.plugins.autoregressive.orders import ranks_of_orders
from genpipe.registry import registry
from genpipe.steps import ProgressFile
from genpipe.training.config import TrainConfig
from genpipe.training.loop import build_model, train


def reals(num: int, num_classes: int = 0, **options: Any) -> density.MADEDensity:
    torch.manual_seed(0)
    names = {"mean": (0.0,) * num, "std": (1.0,) * num, "num_classes": num_classes or None}
    spec = DataSpec(name="rows", event="vector", shape=(num,), **names)
    small = {"hidden": 24, "num_mixtures": 3, "num_layers": 1, "conditional": num_classes > 0}
    made = density.build(MADEConfig(**{**small, **options}), spec).eval()
    made.made.head.weight.data.mul_(10)
    return made


def levels(shape: tuple[int, ...], levels: int, **options: Any) -> model.Autoregressive:
    torch.manual_seed(0)
    event = "image" if len(shape) == 3 else "sequence"
    spec = DataSpec(name="images", event=event, shape=shape, levels=levels)
    small = {"hidden": 24, "num_layers": 1, "flatten": True}
    made = model.build(AutoregressiveConfig(network="made", **{**small, **options}), spec).eval()
    for parameter in made.parameters():
        parameter.data.mul_(2)
    return made


@pytest.mark.parametrize("num_orders", [1, 3])
def test_orders_are_the_numbers_own_and_random_ones(num_orders):
    ranks = ranks_of_orders(9, num_orders)
    assert ranks.shape == (num_orders, 9)
    assert ranks[0].tolist() == list(range(9))
    assert all(sorted(row) == list(range(9)) for row in ranks.tolist())
    assert len({tuple(row) for row in ranks.tolist()}) == num_orders


def test_even_the_first_number_knows_its_label():
    made = reals(2, num_classes=2)
    first = [made.made(torch.zeros(1, 2, 1), one_hot(torch.tensor([y]), 2))[0, 0] for y in range(2)]
    assert not torch.equal(*first)


@pytest.mark.parametrize("num_orders", [1, 3])
def test_probabilities_of_levels_add_up_to_one_and_samples_come_as_often(num_orders):
    made, num = levels((1, 2, 2), 2, num_orders=num_orders), 20_000
    everything = torch.tensor(list(itertools.product(range(2), repeat=4))).view(-1, 1, 2, 2)
    probabilities = made.log_prob(everything).nats.double().exp()
    assert float(probabilities.sum()) == pytest.approx(1, abs=1e-5)
    counts = (made.sample(num, seed=1).long().flatten(1) @ torch.tensor([8, 4, 2, 1])).bincount(minlength=16)
    expected = num * probabilities
    assert float(((counts - expected).square() / expected).sum()) < 37.7  # 0.1 % of chi-square with 15 degrees


def grid(num: int = 401, bound: float = 12.0) -> tuple[Tensor, float]:
    """(num², 2) places of the plane and the area of each."""
    axis = torch.linspace(-bound, bound, num)
    return torch.cartesian_prod(axis, axis), float(axis[1] - axis[0]) ** 2


@pytest.mark.parametrize("num_orders", [1, 2])
def test_a_density_integrates_to_one_and_samples_have_its_entropy(num_orders):
    made = reals(2, num_orders=num_orders)
    x, area = grid()
    log_p = made.log_prob(x).nats.double()
    assert float(log_p.exp().sum()) * area == pytest.approx(1, abs=1e-3)
    entropy = -float((log_p.exp() * log_p).sum()) * area
    drawn = made.log_prob(made.sample(20_000, seed=1)).nats.double()
    assert -float(drawn.mean()) == pytest.approx(entropy, abs=4 * float(drawn.std()) / math.sqrt(20_000))


def test_orders_are_other_models_and_their_mean_is_between_them():
    made = reals(3, num_orders=3)
    x = torch.randn(50, 3)
    each = torch.stack([made._log_prob(x, None, torch.full((50,), which)).detach() for which in range(3)])
    assert float((each[0] - each[1]).abs().max()) > 0.01
    expected = each.logsumexp(0) - math.log(3)
    torch.testing.assert_close(made.log_prob(x).nats, expected, rtol=1e-5, atol=1e-5)


def test_the_first_number_has_the_mixture_that_its_outputs_say():
    made = reals(1, num_mixtures=4)
    logits, means, log_scales = made.made(torch.zeros(1, 1, 1), None, torch.zeros(1).long())[0, 0].detach().chunk(3)
    truth = MixtureSameFamily(Categorical(logits=logits), Normal(means, log_scales.exp()))
    x = torch.linspace(-3, 3, 9)
    torch.testing.assert_close(made.log_prob(x[:, None]).nats, truth.log_prob(x))
    drawn = made.sample(20_000, seed=2)[:, 0]
    assert float(drawn.mean()) == pytest.approx(float(truth.mean), abs=4 * float(truth.stddev) / math.sqrt(20_000))
    below = torch.tensor([float((drawn <= v).float().mean()) for v in x])
    torch.testing.assert_close(below, truth.cdf(x), rtol=0, atol=0.015)


def test_a_score_is_the_slope_of_the_density():
    made = reals(2, num_orders=2)
    x = torch.randn(5, 2)
    step = torch.tensor([1e-2, 0.0])
    slope = (made.log_prob(x + step).nats - made.log_prob(x - step).nats) / 2e-2
    torch.testing.assert_close(made.score(x)[:, 0], slope, rtol=2e-2, atol=2e-2)


def test_training_takes_orders_and_dropout_of_each_example_whatever_the_batch():
    made = reals(3, num_orders=4, dropout=0.3).train()
    z = torch.randn(8, 3)

    def loss(first: int, count: int) -> Tensor:
        noise = Noise(0, "train", 16 + first)
        with masks_of(noise):
            return made.loss(z[first : first + count], None, noise)["loss"]

    torch.testing.assert_close(torch.stack([loss(i, 1) for i in range(8)]).mean(), loss(0, 8))


def test_images_are_taken_as_rows_only_where_that_is_asked_for():
    with pytest.raises(UsageError, match="set flatten: true to take them as rows"):
        levels((1, 3, 3), 4, flatten=False)
    assert levels((5,), 4, flatten=False).sample(2).shape == (2, 5)


def test_a_path_of_several_orders_grows_into_the_samples():
    made = levels((1, 3, 3), 17, num_orders=3)
    path = made.sample_path(4, seed=1, num_frames=4)
    assert path.drawn is None
    assert torch.equal(path.frames[-1], made.sample(4, seed=1))
    assert path.labels == ("0 of 9", "3 of 9", "6 of 9", "9 of 9")
    changed = (path.frames[1:] != path.frames[:-1]).flatten(2).sum(2)
    assert int(changed.max()) <= 3


@pytest.mark.slow
@pytest.mark.parametrize(("name", "within"), [("gaussians_2d", 0.02), ("moons", 0.05)])
def test_densities_in_the_plane_are_met_within_hundredths_of_a_nat(name: str, within: float, tmp_path: Path) -> None:
    record = registry().get("dataset", name)
    config = record.config_class(num_examples=20_000)
    x = record.builder(config, 0).x
    spec = replace(
        record.builder(config, 0).spec,
        mean=tuple(x.mean(0, dtype=np.float64).tolist()),
        std=tuple(x.std(0, dtype=np.float64).tolist()),
    )
    made: Model = build_model(registry().get("family", "made"), MADEConfig(), spec, seed=0)
    options = TrainConfig(steps=1500, batch_size=512, learning_rate=5e-3)
    train(
        made,
        Split(spec, "train", x, None),
        options,
        seed=0,
        device="cpu",
        scratch=tmp_path,
        progress=ProgressFile(None),
    )
    drawn = load_reference(record.draw)(config, 10_000, 1)
    truth = load_reference(record.log_density)(config, drawn)
    found = made.log_prob(torch.from_numpy(drawn)).nats.double().numpy()
    assert -0.02 < float((truth - found).mean()) < within
