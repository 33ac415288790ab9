"""On eight Gaussians on a circle, whose score is known at every noise level."""

import math

import pytest
import torch

from genpipe.likelihoods.probability_flow import ProbabilityFlow, warped_times
from genpipe.noise import Noise

STD = 0.3
FIRST, LAST = 1e-3, math.pi / 2 - 1e-4
_angles = 2 * math.pi * torch.arange(8, dtype=torch.float64) / 8
CENTRES = 1.4 * torch.stack([_angles.cos(), _angles.sin()], dim=1)


def moved(x, angle):
    """Distances to the centres and their variance where noise cos φ z + sin φ ε is added."""
    return x[:, None] - math.cos(angle) * CENTRES, math.cos(angle) ** 2 * STD**2 + math.sin(angle) ** 2


def velocity(x, angle):
    offsets, variance = moved(x, angle)
    weights = torch.softmax(-0.5 * offsets.square().sum(-1) / variance, dim=1)
    noise = math.sin(angle) * (weights[..., None] * offsets).sum(1) / variance
    return (noise - math.sin(angle) * x) / math.cos(angle)


def log_density(x, angle):
    offsets, variance = moved(x, angle)
    return torch.logsumexp(-0.5 * offsets.square().sum(-1) / variance, 1) - math.log(16 * math.pi * variance)


@pytest.fixture(scope="module")
def x():
    generator = torch.Generator().manual_seed(0)
    which = torch.randint(8, (400,), generator=generator)
    return CENTRES[which] + STD * torch.randn(400, 2, generator=generator, dtype=torch.float64)


def scored(x, num_steps, **options):
    flow = ProbabilityFlow(
        velocity=velocity, times=warped_times(FIRST, LAST, num_steps), noise=Noise(0, "test"), **options
    )
    answer = flow.log_prob(x)
    return answer, answer.nats - log_density(x, FIRST)


def test_fifty_steps_of_heun_are_within_4e_4_nats(x):
    answer, errors = scored(x, 50)
    assert abs(float(errors.mean())) < 4e-4
    assert float(errors.abs().max()) < 4e-3
    assert (answer.kind, answer.standard_error) == ("estimate", None)
    assert abs(float(answer.check.mean())) < 2e-3


def test_ten_steps_of_euler_are_too_good_and_halving_them_says_so(x):
    answer, errors = scored(x, 10, method="euler")
    assert float(errors.mean()) > 0.1
    assert float(answer.check.mean()) > 0.1


def test_half_the_steps_of_heun_err_by_four_times_as_much(x):
    (_, coarse), (answer, fine) = scored(x, 20), scored(x, 40)
    assert float(coarse.abs().mean()) == pytest.approx(4 * float(fine.abs().mean()), rel=0.35)
    torch.testing.assert_close(answer.check, coarse - fine)


def test_random_signs_estimate_the_trace_with_a_standard_error_that_holds():
    """Nine independent copies of one dimension, N(0, s²): Hutchinson's is exact for a diagonal Jacobian, so turn it."""
    generator = torch.Generator().manual_seed(1)
    turn = torch.linalg.qr(torch.randn(9, 9, generator=generator, dtype=torch.float64))[0]
    stds = torch.linspace(0.2, 2, 9, dtype=torch.float64)

    def gaussian(x, angle):
        z = x @ turn
        variance = (math.cos(angle) * stds).square() + math.sin(angle) ** 2
        noise = math.sin(angle) * z / variance
        return ((noise - math.sin(angle) * z) / math.cos(angle)) @ turn.T

    x = (stds * torch.randn(200, 9, generator=generator, dtype=torch.float64)) @ turn.T
    flow = ProbabilityFlow(velocity=gaussian, times=warped_times(FIRST, LAST, 60), noise=Noise(0, "test"), num_probes=8)
    answer = flow.log_prob(x)
    z = (x @ turn) / stds
    truth = (-0.5 * z.square() - stds.log() - 0.5 * math.log(2 * math.pi)).sum(1)
    assert answer.standard_error.shape == (200,)
    ratio = (answer.nats - truth) / answer.standard_error
    assert abs(float(ratio.median())) < 0.4
    assert 0.5 < float(ratio.abs().median()) < 1.2


def test_times_go_from_data_to_noise_and_are_finest_at_the_data():
    times = warped_times(0.01, 1.5, 20)
    assert (times[0], times[-1], len(times)) == (0.01, 1.5, 21)
    steps = torch.tensor(times).diff()
    assert (steps > 0).all()
    assert steps[0] < steps[-1] / 10
