"""On p(h) = N(0, I), p(x | h) = N(W h, σ² I), where log p(x) is that of N(0, W Wᵀ + σ² I)."""

import math

import pytest
import torch

from genpipe.likelihoods.annealing import Annealing, temperatures
from genpipe.likelihoods.importance import log_mean_weight
from genpipe.noise import Noise

SIGMA = 1.0


class LinearGaussian:
    def __init__(self, num, latent_dim, dimensions):
        def normals(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        generator = torch.Generator().manual_seed(0)
        self.weights, self.h = normals(dimensions, latent_dim), normals(num, latent_dim)
        self.x = self.h @ self.weights.T + SIGMA * normals(num, dimensions)
        covariance = self.weights @ self.weights.T + SIGMA**2 * torch.eye(dimensions, dtype=torch.float64)
        zero = torch.zeros(dimensions, dtype=torch.float64)
        self.log_prob = torch.distributions.MultivariateNormal(zero, covariance).log_prob(self.x)

    def annealing(self, num_steps, part=slice(None), **options):
        x = self.x[part]

        def log_likelihood(h):
            squares = (x[:, None] - h @ self.weights.T).square().sum(-1) / SIGMA**2
            return -0.5 * squares - x.shape[1] * math.log(SIGMA * math.sqrt(2 * math.pi))

        return Annealing(
            log_likelihood=log_likelihood,
            num_examples=len(x),
            num_dimensions=self.h.shape[1],
            noise=Noise(0, "test", part.start or 0),
            num_steps=num_steps,
            **options,
        )


def errors(decoder, num_steps, **options):
    run = decoder.annealing(num_steps, **options)
    sizes = run.pilot()
    lower, upper = run.lower_bound(sizes), run.upper_bound(decoder.h, sizes)
    assert (lower.kind, upper.kind) == ("lower_bound", "upper_bound")
    return lower.nats - decoder.log_prob, upper.nats - decoder.log_prob


def mean_and_error(x):
    return float(x.mean()), float(x.std()) / math.sqrt(len(x))


def test_few_temperatures_hold_the_truth_between_two_bounds():
    below, above = errors(LinearGaussian(64, 4, 12), 8, num_chains=2)
    mean, error = mean_and_error(below)
    assert -8 < mean < -2 * error
    mean, error = mean_and_error(above)
    assert 2 * error < mean < 8


def test_more_temperatures_close_the_gap():
    below, above = errors(LinearGaussian(16, 4, 12), 200)
    for found in (below, above):
        mean, error = mean_and_error(found)
        assert abs(mean) < 0.1 + 3 * error
        assert error < 0.1


@pytest.mark.slow
def test_a_thousand_temperatures_and_sixteen_chains_are_within_a_tenth_of_a_nat_on_both_sides():
    below, above = errors(LinearGaussian(48, 10, 50), 1000)
    for found in (below, above):
        mean, error = mean_and_error(found)
        assert abs(mean) < 0.1
        assert error < 0.05


def test_an_example_has_its_chains_whatever_it_is_annealed_with():
    decoder = LinearGaussian(5, 3, 6)
    whole, part = decoder.annealing(20), decoder.annealing(20, slice(2, 4))
    sizes = whole.pilot()
    torch.testing.assert_close(part.pilot(), sizes[2:4])
    torch.testing.assert_close(part.lower_bound(sizes[2:4]).nats, whole.lower_bound(sizes).nats[2:4])


def test_step_sizes_follow_the_posterior_as_it_narrows():
    sizes = LinearGaussian(4, 4, 40).annealing(100).pilot()
    assert sizes.shape == (4, 100)
    assert (sizes[:, 5] > 2 * sizes[:, -1]).all()


def test_chains_that_run_away_stay_where_they_were():
    """Steps a million times too long overflow and move nothing, which leaves simple importance sampling."""
    decoder = LinearGaussian(2, 2, 6)
    bound = decoder.annealing(10).lower_bound(torch.full((2, 10), 1e40, dtype=torch.float64))
    h = Noise(0, "test/forward").normal("prior", (2, 16, 2), dtype=torch.float64)
    simple = log_mean_weight(decoder.annealing(10).log_likelihood(h).T)
    torch.testing.assert_close(bound.nats, simple.nats)


def test_temperatures_go_from_the_prior_to_the_posterior():
    betas = temperatures(10)
    assert (float(betas[0]), float(betas[-1]), len(betas)) == (0, 1, 11)
    assert (betas.diff() > 0).all()
