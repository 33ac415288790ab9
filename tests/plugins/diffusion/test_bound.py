"""What diffusion and flow matching know of log p: the bound term by term, the flow and the score of Gaussian data."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.noise import Noise
from genpipe.plugins.diffusion.model import Diffusion
from tests.plugins.diffusion.ideal import (
    DIGITS,
    PLANE,
    VARIANCE,
    IdealDenoiser,
    diffusion,
    exact_log_density,
    flow_matching,
    ideal,
)

PREDICTION_TYPES = ["epsilon", "v_prediction", "edm"]


def gaussian_data(num: int) -> Tensor:
    return math.sqrt(VARIANCE) * torch.randn(num, 2, generator=torch.Generator().manual_seed(0))


def full_bound(model: Diffusion, z: Tensor, noise: Noise) -> Tensor:
    """−(L_T + Σ_t L_t + L_0) term by term, each KL between two Gaussians written out (Ho et al., 2020, eq. 5-8)."""
    alpha_bar, z = model.ladder.alpha_bar, z / model.sigma_data
    last, num_dimensions = alpha_bar[-1], z[0].numel()
    z64 = z.double().flatten(1)
    total = 0.5 * (last * z64.square() + (1 - last) - 1 - (1 - last).log()).sum(1)
    for t in range(len(alpha_bar)):
        e = noise.normal(f"e{t}", tuple(z.shape))
        a_t = alpha_bar[t]
        x = (a_t.sqrt() * z + (1 - a_t).sqrt() * e).float()
        x0 = model.predict(x, model.ladder.log_snr[t].expand(len(z)))[0].double().flatten(1)
        if t == 0:
            variance = (1 - a_t) / a_t
            total += 0.5 * ((z64 - x0).square().sum(1) / variance + num_dimensions * (2 * math.pi * variance).log())
        else:
            a_p = alpha_bar[t - 1]
            beta = 1 - a_t / a_p
            posterior = (1 - a_p) / (1 - a_t) * beta
            variance = beta if model.config.variance_type == "fixed_large" else posterior
            gap = a_p.sqrt() * beta / (1 - a_t) * (z64 - x0)
            for i in range(num_dimensions):
                total += kl_divergence(
                    Normal(gap[:, i], posterior.sqrt()), Normal(torch.zeros(()).double(), variance.sqrt())
                )
    return -total - num_dimensions * model.sigma_data.log()


@pytest.mark.parametrize(
    ("spec", "prediction_type", "variance_type"),
    [
        *(
            (PLANE, prediction, variance)
            for prediction in PREDICTION_TYPES
            for variance in ("fixed_small", "fixed_large")
        ),
        pytest.param(DIGITS, "edm", "fixed_large", marks=pytest.mark.slow),
        pytest.param(DIGITS, "epsilon", "fixed_small", marks=pytest.mark.slow),
        pytest.param(DIGITS, "v_prediction", "fixed_large", marks=pytest.mark.slow),
    ],
)
def test_the_estimated_bound_is_that_of_all_terms(spec: DataSpec, prediction_type: str, variance_type: str) -> None:
    model = diffusion(
        spec,
        num_timesteps=40,
        num_bound_evaluations=32,
        prediction_type=prediction_type,
        variance_type=variance_type,
        channels=4,
        hidden=16,
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))  # away from the zero-initialised head
        z = (torch.rand(1, *spec.shape) * 2 - 1).expand(400, *spec.shape)
        every = full_bound(model, z, Noise(1, "all"))
        estimate = model.log_density(z, None, Noise(2, "some"))
    assert estimate.standard_error is not None
    spread = float(estimate.nats.std())
    error = math.hypot(spread, float(every.std())) / 20
    assert float(estimate.nats.mean()) == pytest.approx(float(every.mean()), abs=4 * error)
    # The reported standard error is that of repeated estimates of one example.
    assert float(estimate.standard_error.square().mean().sqrt()) == pytest.approx(spread, rel=0.15)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_with_the_ideal_denoiser_the_bound_is_close_to_the_density_and_below(prediction_type: str) -> None:
    z, gaps = gaussian_data(3000), []
    for num_timesteps in (50, 1000):
        model = ideal(num_timesteps=num_timesteps, prediction_type=prediction_type)
        nats = model.log_density(z, None, Noise(0, "x")).nats
        gaps.append(float((exact_log_density(z) - nats).mean()))
    assert gaps[0] > gaps[1]
    assert -0.01 < gaps[1] < 0.05


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_with_the_ideal_denoiser_the_flow_gives_the_density_and_its_check_says_how_nearly(prediction_type: str) -> None:
    model, z = ideal(prediction_type=prediction_type), gaussian_data(200)
    fine, coarse = (model.log_prob(z, estimator={"name": "probability_flow", "num_steps": steps}) for steps in (50, 4))
    assert fine.kind == "estimate"
    assert fine.check is not None
    assert coarse.check is not None
    assert float((fine.nats - exact_log_density(z)).abs().mean()) < 2e-3
    assert float(fine.check.abs().mean()) < 5e-3
    assert float(coarse.check.abs().mean()) > 0.05
    with pytest.raises(UsageError, match="even number"):
        model.log_prob(z, estimator={"name": "probability_flow", "num_steps": 5})


def test_with_the_ideal_velocity_a_straight_flow_gives_the_density() -> None:
    model, z = flow_matching(num_likelihood_steps=40), gaussian_data(200)
    model.network = IdealDenoiser("velocity", VARIANCE)
    answer = model.log_prob(z)
    assert answer.kind == "estimate"
    assert answer.check is not None
    assert float((answer.nats - exact_log_density(z)).abs().mean()) < 5e-3
    assert float(answer.check.abs().mean()) < 2e-2


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_with_the_ideal_denoiser_the_score_is_the_datas(prediction_type: str) -> None:
    model = ideal(prediction_type=prediction_type)
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model.score(x), -x / VARIANCE, rtol=1e-2, atol=1e-2)
