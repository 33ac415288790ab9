"""The VAE: its bound against torch.distributions and a closed marginal, its samplers, its networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from genpipe.data import Split, split_by_hash
from genpipe.dataspec import DataSpec
from genpipe.noise import Noise
from genpipe.plugins.vae.config import VAEConfig
from genpipe.plugins.vae.model import VariationalAutoencoder, build
from genpipe.plugins.vae.outputs import Gaussian
from genpipe.registry import registry
from genpipe.steps import ProgressFile
from genpipe.training.config import TrainConfig
from genpipe.training.loop import build_model, train

PLANE = DataSpec(name="plane", event="vector", shape=(3,), mean=(0.0,) * 3, std=(1.0,) * 3)
DIGITS = DataSpec(name="digits", event="image", shape=(1, 8, 8), levels=17)


def made(spec: DataSpec, **options: Any) -> VariationalAutoencoder:
    torch.manual_seed(0)
    return build(VAEConfig(**options), spec).eval()


class Linear(nn.Module):
    """Mean A h + b and a constant log-variance: with a matching encoder, a VAE whose marginal is known."""

    def __init__(self, matrix: Tensor, offset: Tensor, log_var: Tensor) -> None:
        super().__init__()
        self.matrix, self.offset, self.log_var = matrix, offset, log_var

    def forward(self, h: Tensor, y: Tensor | None = None) -> Tensor:
        mean = h @ self.matrix.T + self.offset
        return torch.cat([mean, self.log_var.expand_as(mean)], dim=1)


def linear_gaussian(num_elbo_samples: int = 1, **options: Any) -> tuple[VariationalAutoencoder, MultivariateNormal]:
    """z = w h + e: the marginal N(0, w wᵀ + s² I), and the exact posterior as the encoder."""
    model = made(PLANE, latent_dim=1, num_elbo_samples=num_elbo_samples, **options)
    w, s2 = torch.tensor([[1.0], [-0.5], [2.0]]), 0.3
    posterior_var = 1 / (1 + (w**2).sum() / s2)
    # The decoder's bound from below is smooth: its argument is chosen so that the variance comes out as s².
    assert isinstance(model.output, Gaussian)
    floor = torch.tensor(model.output.min_log_var)
    log_var = floor + torch.log(torch.expm1(torch.tensor(s2).log() - floor))
    model.decoder = Linear(w, torch.zeros(3), log_var)
    model.encoder = Linear(posterior_var / s2 * w.T, torch.zeros(1), posterior_var.log())
    return model, MultivariateNormal(torch.zeros(3), w @ w.T + s2 * torch.eye(3))


def test_with_the_exact_posterior_the_bound_is_the_marginal() -> None:
    model, marginal = linear_gaussian(num_elbo_samples=4000)
    z = marginal.sample((20,))
    answer = model.log_density(z, None, Noise(0, "x"))
    assert answer.kind == "lower_bound"
    assert answer.standard_error is not None
    error = (answer.nats - marginal.log_prob(z)).abs()
    assert (error < 5 * answer.standard_error + 1e-3).all()


def test_with_another_posterior_the_bound_is_lower() -> None:
    model, marginal = linear_gaussian(num_elbo_samples=500)
    model.encoder.offset = torch.tensor([0.5])
    z = marginal.sample((20,))
    assert (model.log_density(z, None, Noise(0, "x")).nats < marginal.log_prob(z)).all()


def test_more_codes_and_annealing_close_what_the_bound_leaves_open() -> None:
    model, marginal = linear_gaussian(num_elbo_samples=200)
    model.encoder.offset = torch.tensor([0.3])
    x = marginal.sample((40,))
    gaps = {
        name: float((marginal.log_prob(x) - model.log_prob(x, estimator=estimator).nats).mean())
        for name, estimator in {
            "elbo": None,
            "8": {"name": "iwae", "num_samples": 8},
            "300": {"name": "iwae", "num_samples": 300},
            "ais": {"name": "ais", "num_samples": 8, "num_steps": 40},
        }.items()
    }
    assert gaps["elbo"] > gaps["8"] > gaps["300"]
    assert gaps["elbo"] > 0.3
    assert abs(gaps["300"]) < 0.1
    assert abs(gaps["ais"]) < 0.15


def test_annealing_is_checked_by_an_upper_bound_on_draws_of_the_model() -> None:
    model, marginal = linear_gaussian(num_elbo_samples=1)
    x = marginal.sample((40,))
    few, many = (
        model.log_prob(x, estimator={"name": "ais", "num_samples": 2, "num_steps": steps}) for steps in (3, 40)
    )
    assert few.kind == "lower_bound"
    assert few.check is not None
    assert many.check is not None
    assert float(few.check.mean()) > 3 * abs(float(many.check.mean()))


def test_the_bounds_two_terms_are_those_of_torchs_distributions() -> None:
    model = made(DIGITS)
    z = torch.rand(5, 1, 8, 8) * 2 - 1
    noise = Noise(0, "train", 11)
    mean, log_var = model.posterior(z)
    nll, kl = model.bound(z, None, noise, mean, log_var)
    posterior = Normal(mean, (0.5 * log_var).exp())
    torch.testing.assert_close(kl, kl_divergence(posterior, Normal(0.0, 1.0)).sum(1), rtol=1e-4, atol=1e-5)
    code = mean + (0.5 * log_var).exp() * noise.normal("code", tuple(mean.shape))
    decoded, decoded_log_var = model.output.parameters(model.maps(code))
    expected = -Normal(decoded, (0.5 * decoded_log_var).exp()).log_prob(z).flatten(1).sum(1)
    torch.testing.assert_close(nll, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_beta_weighs_the_kl_in_the_loss_alone(beta: float) -> None:
    model, plain = made(DIGITS, beta=beta), made(DIGITS)
    z, noise = torch.rand(5, 1, 8, 8) * 2 - 1, Noise(0, "train")
    terms = model.loss(z, None, noise)
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + beta * terms["kl"])
    assert torch.equal(model.log_density(z, None, noise).nats, plain.log_density(z, None, noise).nats)


def test_the_decoder_is_never_narrower_than_dequantisation() -> None:
    model = made(DIGITS)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(100)
    _, log_var = model.output.parameters(model.maps(torch.randn(50, 16)))
    bin_variance = (2 / 17) ** 2 / 12
    assert float(log_var.detach().exp().min()) == pytest.approx(bin_variance, rel=1e-3)


def test_draws_scatter_around_the_mean_by_the_decoders_deviation() -> None:
    model, marginal = linear_gaussian(num_elbo_samples=1)
    mean, draw = (model.generate(20_000, None, Noise(0, "sample"), model.choose_sampler(s)) for s in ("mean", "draw"))
    torch.testing.assert_close((draw - mean).var(), torch.tensor(0.3), rtol=0.03, atol=0)
    torch.testing.assert_close(torch.cov(draw.T), marginal.covariance_matrix, rtol=0.05, atol=0.03)
    assert model.choose_sampler(None).name == "draw"


def test_one_elbo_sample_has_no_standard_error() -> None:
    model = made(DIGITS, num_elbo_samples=1)
    assert model.log_prob(torch.zeros(2, 1, 8, 8)).standard_error is None


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 5, 7), (1, 1, 9)])
@pytest.mark.parametrize("num_halvings", [0, 1, 3])
def test_images_of_any_size_come_back_in_their_size(shape: tuple[int, int, int], num_halvings: int) -> None:
    spec = DataSpec(name="images", event="image", shape=shape, low=0.0, high=1.0)
    model = made(spec, channels=4, num_halvings=num_halvings)
    x = torch.rand(2, *shape)
    assert model.decode(model.encode(x)).shape == x.shape
    assert model.sample(2).shape == x.shape
    assert model.log_prob(x).nats.isfinite().all()


@pytest.mark.slow
def test_digits_are_bounded_far_below_one_gaussian(tmp_path: Path) -> None:
    record = registry().get("dataset", "digits")
    raw = record.builder(record.config_class(), 0)
    indices = split_by_hash(len(raw.x), {"test": 0.2}, 0)
    split = Split(raw.spec, "train", raw.x[indices["train"]], None)
    model = build_model(registry().get("family", "vae"), VAEConfig(), raw.spec, seed=0)
    config = TrainConfig(steps=2500, batch_size=64)
    train(model, split, config, seed=0, device="cpu", scratch=tmp_path, progress=ProgressFile(None))
    bits = model.units.bits_per_dim(model.log_prob(torch.from_numpy(raw.x[indices["test"]])).nats)
    assert float(bits.mean()) < 2.3
    assert np.isfinite(bits.numpy()).all()
