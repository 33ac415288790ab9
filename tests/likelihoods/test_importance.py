import math

import pytest
import torch

from genpipe.likelihoods.importance import importance_weighted, log_mean_weight


def normal(x, std):
    return -0.5 * (x / std).square() - math.log(std * math.sqrt(2 * math.pi))


def test_the_bound_rises_with_the_number_of_codes_to_the_truth():
    """p(h) = N(0, 1), p(x | h) = N(h, 1), and a q that is too wide: log p(x) is that of N(0, 2)."""
    generator = torch.Generator().manual_seed(0)
    x = torch.linspace(-2, 2, 400, dtype=torch.float64)

    def log_weight(k):
        h = x / 2 + 1.2 * torch.randn(400, generator=generator, dtype=torch.float64)
        return normal(h, 1) + normal(x - h, 1) - normal(h - x / 2, 1.2)

    truth = normal(x, math.sqrt(2)).mean()
    gaps = [float(truth - importance_weighted(log_weight, count).nats.mean()) for count in (1, 8, 512)]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[0] == pytest.approx(0.5 * (2 * 1.44 - 1) - math.log(1.2 * math.sqrt(2)), abs=0.15)  # KL(q ‖ p(h | x))
    assert gaps[2] == pytest.approx(0, abs=0.02)


def test_weights_that_agree_leave_no_error():
    answer = log_mean_weight(torch.full((5, 3), -7.0))
    assert answer.kind == "lower_bound"
    torch.testing.assert_close(answer.nats, torch.full((3,), -7.0, dtype=torch.float64))
    torch.testing.assert_close(answer.standard_error, torch.zeros(3, dtype=torch.float64))
    assert log_mean_weight(torch.zeros(1, 3)).standard_error is None
