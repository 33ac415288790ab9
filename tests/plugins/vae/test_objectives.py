"""What VAEs minimise: importance-weighted bounds where the truth is known, free bits, the KL term's warm-up."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from genpipe.model import Batch
from genpipe.noise import Noise
from genpipe.plugins.vae.config import VAEConfig
from genpipe.plugins.vae.model import VariationalAutoencoder
from tests.plugins.vae.test_vae import DIGITS, PLANE, linear_gaussian, made


class Totals:
    """Optimizers that take no step, and keep what is summed over micro-batches."""

    def __init__(self) -> None:
        self.totals: dict[str, Tensor] = {}

    def minimize(self, loss: Tensor, group: str = "model") -> None:
        loss.backward()

    def sum(self, name: str, value: Tensor) -> None:
        self.totals[name] = self.totals.get(name, torch.zeros(())) + value

    def rows(self, name: str, value: Tensor) -> None:
        raise AssertionError("no rows are needed")


def loss_of(model: VariationalAutoencoder, z: Tensor, seed: int = 0) -> Tensor:
    """Nats per example."""
    return model.loss(z, None, Noise(seed, "train"))["loss"] * model.spec.num_dimensions


@pytest.mark.parametrize("objective", ["iwae", "dreg"])
def test_with_the_exact_posterior_every_weight_is_the_marginal(objective: str) -> None:
    model, marginal = linear_gaussian(objective=objective, num_codes=3)
    z = marginal.sample((20,))
    terms = model.loss(z, None, Noise(0, "train"))
    torch.testing.assert_close(terms["loss"] * 3, -marginal.log_prob(z).mean(), rtol=1e-4, atol=1e-4)
    assert float(terms["effective_codes"]) == pytest.approx(3, rel=1e-3)


def test_a_model_of_the_weighted_bound_answers_with_it() -> None:
    model, marginal = linear_gaussian(objective="dreg", num_codes=64)
    plain, _ = linear_gaussian(num_elbo_samples=64)
    for each in (model, plain):
        each.encoder.offset = torch.tensor([0.3])
    x = marginal.sample((40,))
    answer = model.log_prob(x)
    assert answer.kind == "lower_bound"
    gap, wider = ((marginal.log_prob(x) - nats).mean() for nats in (answer.nats, plain.log_prob(x).nats))
    assert abs(float(gap)) < 0.5 * float(wider)


def test_more_codes_minimise_a_tighter_bound() -> None:
    found = []
    for options in ({}, {"objective": "iwae", "num_codes": 4}, {"objective": "iwae", "num_codes": 64}):
        model, marginal = linear_gaussian(**options)
        model.encoder.offset = torch.tensor([0.3])
        torch.manual_seed(0)
        found.append(float(loss_of(model, marginal.sample((2000,))).detach()))
        truth = -float(marginal.log_prob(marginal.sample((20_000,))).mean())
    assert found[0] > found[1] > found[2] > truth - 0.1


def test_one_code_under_the_logarithm_is_the_elbo() -> None:
    model, marginal = linear_gaussian(num_elbo_samples=400)
    model.encoder.offset = torch.tensor([0.3])
    x = marginal.sample((50,))
    elbo, one = (
        model.log_prob(x),
        [model.log_prob(x, seed=s, estimator={"name": "iwae", "num_samples": 1}) for s in range(400)],
    )
    draws = torch.stack([answer.nats for answer in one]).double()
    error = draws.std(0) / 20
    assert elbo.standard_error is not None
    assert ((draws.mean(0) - elbo.nats).abs() < 5 * (error + elbo.standard_error)).all()


class Trainable(torch.nn.Module):
    """A network of one linear layer that starts as another."""

    def __init__(self, like: Any) -> None:
        super().__init__()
        self.matrix, self.offset = torch.nn.Parameter(like.matrix.clone()), torch.nn.Parameter(like.offset.clone())
        self.log_var = torch.nn.Parameter(like.log_var.clone())

    def forward(self, h: Tensor, y: Tensor | None = None) -> Tensor:
        mean = h @ self.matrix.T + self.offset
        return torch.cat([mean, self.log_var.expand_as(mean)], dim=1)


def gradients(objective: str, offset: float, num_draws: int) -> tuple[Tensor, Tensor]:
    """Of the encoder's and the decoder's offsets, (num_draws, …) each, with other codes every time."""
    model, marginal = linear_gaussian(objective=objective, num_codes=4)
    encoder, decoder = model.encoder, model.decoder = Trainable(model.encoder), Trainable(model.decoder)
    encoder.offset.data += offset
    torch.manual_seed(1)
    z, offsets = marginal.sample((16,)), [encoder.offset, decoder.offset]
    found = [torch.autograd.grad(loss_of(model, z, seed), offsets) for seed in range(num_draws)]
    of_encoder, of_decoder = (torch.stack(each) for each in zip(*found, strict=True))
    return of_encoder, of_decoder


def test_doubly_reparameterised_gradients_have_no_variance_at_the_exact_posterior() -> None:
    assert float(gradients("dreg", 0.0, 3)[0].abs().max()) < 1e-3
    assert float(gradients("iwae", 0.0, 3)[0].abs().max()) > 1e-2


def test_both_gradients_have_one_expectation_and_the_decoders_are_the_same() -> None:
    iwae, dreg = (gradients(objective, 0.4, 100) for objective in ("iwae", "dreg"))
    error = (iwae[0].var() / 100 + dreg[0].var() / 100).sqrt()
    assert (iwae[0].mean() - dreg[0].mean()).abs() < 5 * error
    assert dreg[0].var() < iwae[0].var()
    torch.testing.assert_close(iwae[1], dreg[1], rtol=1e-3, atol=1e-4)


def test_numbers_of_a_code_below_their_free_bits_get_no_gradient_from_the_kl_term() -> None:
    model = made(DIGITS, latent_dim=4, free_nats=0.5)
    z = torch.rand(6, 1, 8, 8) * 2 - 1
    model.mean_kl.copy_(torch.tensor([0.1, 2.0, 0.4, 0.6]))
    mean, log_var = (torch.randn(6, 4, requires_grad=True) for _ in range(2))
    counted = model._beyond_free(mean, log_var, None)
    counted.backward()
    assert mean.grad is not None
    assert (mean.grad != 0).any(0).tolist() == [False, True, False, True]
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var)
    torch.testing.assert_close(counted, 1.0 + (kl[:, 1] + kl[:, 3]).mean())
    assert not torch.equal(loss_of(model, z), loss_of(made(DIGITS, latent_dim=4), z))


def test_free_bits_follow_the_mean_of_the_whole_batch_however_it_is_cut() -> None:
    z = torch.rand(8, 1, 8, 8) * 2 - 1
    found = []
    for cuts in ([(0, 8)], [(0, 2), (2, 3), (5, 3)]):
        model, totals = made(DIGITS, latent_dim=4, free_nats=0.5), Totals()
        for first, count in cuts:
            model.train_step(Batch(z[first : first + count], None, Noise(0, "train", first)), totals, 0)
        model.after_step(totals.totals, 0)
        found.append(model.mean_kl)
        mean, log_var = model.posterior(z)
        torch.testing.assert_close(model.mean_kl, (0.5 * (mean.square() + log_var.exp() - 1 - log_var)).mean(0))
    torch.testing.assert_close(*found)
    assert "mean_kl" not in model.state_dict()


def test_the_kl_term_rises_to_its_weight_over_the_warm_up() -> None:
    model = made(DIGITS, beta=2.0, kl_warmup_steps=4)
    batch = Batch(torch.rand(5, 1, 8, 8) * 2 - 1, None, Noise(0, "train"))
    for step, weight in ((0, 0.5), (1, 1.0), (3, 2.0), (100, 2.0)):
        terms = model.train_step(batch, Totals(), step)
        torch.testing.assert_close(terms["loss"].detach(), terms["reconstruction"] + weight * terms["kl"])


def test_several_codes_average_the_elbos_first_term() -> None:
    one, many = made(PLANE, latent_dim=2), made(PLANE, latent_dim=2, num_codes=64)
    z = torch.randn(40, 3)
    losses = torch.stack([loss_of(one, z, seed) for seed in range(64)])
    assert (loss_of(many, z) - losses.mean()).abs() < 5 * losses.std() * (2 / 64) ** 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "iwae"}, "objective 'iwae' of one code is the ELBO"),
        ({"objective": "dreg", "num_codes": 4, "beta": 2.0}, "beta weighs the ELBO's KL term"),
        ({"objective": "iwae", "num_codes": 4, "free_nats": 0.1}, "free_nats weighs the ELBO's KL term"),
    ],
)
def test_options_that_an_objective_has_no_use_for_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        VAEConfig(**options)
