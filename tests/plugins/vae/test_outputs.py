"""What decoders say of the data: masses that sum to one, draws that come as often as their mass, means in between."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Binomial

from genpipe.noise import Noise
from genpipe.plugins.vae.outputs import Bernoulli, Categorical, Gaussian, LogisticMixture, to_levels, to_network

OUTPUTS = {
    "bernoulli": Bernoulli(1, 2),
    "binomial": Bernoulli(1, 5),
    "categorical": Categorical(1, 5),
    "categorical of colours": Categorical(2, 3),
    "logistic mixture": LogisticMixture(1, 5, 3),
    "logistic mixture of colours": LogisticMixture(3, 4, 2),
}


def every_pixel(output: Bernoulli | Categorical | LogisticMixture) -> Tensor:
    """All values that a pixel can have, (levels ** C, C, 1, 1), network units."""
    levels = torch.tensor(list(itertools.product(range(output.levels), repeat=output.num_channels)))
    return to_network(levels.float(), output.levels)[:, :, None, None]


def maps_of(output: Bernoulli | Categorical | LogisticMixture, seed: int = 0) -> Tensor:
    """One pixel's, (1, num_maps, 1, 1)."""
    return torch.randn(1, output.num_maps, 1, 1, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_levels_come_back_from_the_middles_of_their_bins(levels: int) -> None:
    level = torch.arange(levels)
    assert torch.equal(to_levels(to_network(level.float(), levels), levels), level)


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
def test_masses_of_all_values_sum_to_one(output: Bernoulli | Categorical | LogisticMixture) -> None:
    z = every_pixel(output)
    mass = (-output.nll(maps_of(output).expand(len(z), -1, 1, 1).contiguous(), z)).double().exp()
    assert float(mass.sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
def test_draws_come_as_often_as_their_mass(output: Bernoulli | Categorical | LogisticMixture) -> None:
    z, num = every_pixel(output), 20_000
    mass = (-output.nll(maps_of(output).expand(len(z), -1, 1, 1).contiguous(), z)).double().exp()
    drawn = output.draw(maps_of(output).expand(num, -1, 1, 1), Noise(0, "draws"))
    assert drawn.shape == (num, output.num_channels, 1, 1)
    places = output.levels ** torch.arange(output.num_channels - 1, -1, -1)
    found = (to_levels(drawn[:, :, 0, 0], output.levels) * places).sum(1).bincount(minlength=len(z)) / num
    error = (mass * (1 - mass) / num).sqrt()
    assert ((found - mass).abs() < 5 * error + 1e-4).all()


@pytest.mark.parametrize("output", [Bernoulli(1, 5), Categorical(1, 5), Categorical(2, 3)], ids=str)
def test_means_are_those_of_the_masses(output: Bernoulli | Categorical) -> None:
    z = every_pixel(output)
    mass = (-output.nll(maps_of(output).expand(len(z), -1, 1, 1).contiguous(), z)).exp()
    torch.testing.assert_close(output.mean(maps_of(output))[0], (mass[:, None, None, None] * z).sum(0))


def test_a_narrow_mixture_of_logistics_has_its_mean_where_its_draws_are() -> None:
    output = LogisticMixture(3, 256, 2)
    maps = maps_of(output, seed=1).view(1, 10, 2, 1, 1)
    maps[:, 1:4] *= 0.2
    maps[:, 4:7] = -6
    maps = maps.view(1, -1, 1, 1)
    drawn = output.draw(maps.expand(20_000, -1, 1, 1), Noise(0, "draws"))
    torch.testing.assert_close(output.mean(maps)[0], drawn.mean(0), rtol=0, atol=0.02)


def test_a_bernoulli_of_many_levels_is_torchs_binomial() -> None:
    output, maps = Bernoulli(2, 9), torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    levels = torch.randint(9, (4, 2, 3, 3), generator=torch.Generator().manual_seed(1))
    expected = -Binomial(8, logits=maps).log_prob(levels.float()).flatten(1).sum(1)
    torch.testing.assert_close(output.nll(maps, to_network(levels.float(), 9)), expected, rtol=1e-4, atol=1e-4)


def test_a_gaussian_is_never_narrower_than_it_may_be() -> None:
    output = Gaussian(1, 2 * math.log(0.1))
    _, log_var = output.parameters(torch.tensor([[[[0.0]], [[-50.0]]]]))
    assert float((0.5 * log_var).exp()) == pytest.approx(0.1)


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
def test_gradients_are_finite_at_extreme_maps(output: Bernoulli | Categorical | LogisticMixture) -> None:
    z = every_pixel(output)
    for scale in (1e3, -1e3):
        maps = (scale * torch.ones(len(z), output.num_maps, 1, 1)).requires_grad_()
        output.nll(maps, z).sum().backward()
        assert maps.grad is not None
        assert maps.grad.isfinite().all()
