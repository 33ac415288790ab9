import pytest
import torch

from genpipe import ops
from genpipe.likelihoods.logistic_mixture import draw_levels, mean_levels, num_maps
from genpipe.noise import Noise

LEVELS, NUM = 5, 40_000


def parameters(channels, seed, num_mixtures=2):
    """(1, M·K, 1, 1)"""
    generator = torch.Generator().manual_seed(seed)
    params = torch.randn(1, num_maps(channels), num_mixtures, 1, 1, generator=generator, dtype=torch.float64)
    params[:, 1 + channels : 1 + 2 * channels] -= 1  # logistics of about a bin's width
    return params.flatten(1, 2)


def every_pixel(channels):
    values = [torch.arange(LEVELS)] * channels
    return torch.cartesian_prod(*values).reshape(-1, channels, 1, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_draws_are_as_frequent_as_the_likelihood_says(channels):
    params = parameters(channels, seed=channels)
    pixels = every_pixel(channels)
    expected = (
        -ops.discretized_logistic_mixture_nll(params.expand(len(pixels), -1, -1, -1), pixels, levels=LEVELS)
    ).exp()
    assert float(expected.sum()) == pytest.approx(1, abs=1e-6)
    drawn = draw_levels(params.expand(NUM, -1, -1, -1), channels, LEVELS, Noise(0, "draws"))
    place = sum(drawn[:, c].flatten() * LEVELS ** (channels - 1 - c) for c in range(channels))
    found = torch.bincount(place, minlength=len(pixels)).double()
    likely = expected * NUM > 5
    chi_square = ((found - NUM * expected).square() / (NUM * expected))[likely].sum()
    degrees = int(likely.sum()) - 1
    assert chi_square < degrees + 5 * (2 * degrees) ** 0.5


def test_a_draw_is_of_its_own_number_whatever_it_is_drawn_with():
    params = parameters(3, seed=0).expand(6, -1, 4, 3).contiguous()
    whole = draw_levels(params, 3, LEVELS, Noise(1, "draws", 10))
    assert torch.equal(whole[2:4], draw_levels(params[2:4], 3, LEVELS, Noise(1, "draws", 12)))


def test_the_mean_of_one_narrow_logistic_is_its_place():
    params = torch.tensor([0.0, 0.5, -6.0]).reshape(1, 3, 1, 1)
    assert mean_levels(params, 1, LEVELS).item() == pytest.approx(3)
    assert mean_levels(params * torch.tensor([1, 5.0, 1]).reshape(1, 3, 1, 1), 1, LEVELS).item() == LEVELS - 1
