"""The energy-based model: its coordinates, its objectives, its samplers, its log Z; all against known answers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.model import Batch
from genpipe.noise import Noise
from genpipe.plugins.energy.base import GaussianBase, log_normal
from genpipe.plugins.energy.config import EnergyConfig
from genpipe.plugins.energy.model import EnergyModel, build
from genpipe.plugins.energy.objectives import OBJECTIVES

PLANE = DataSpec(name="plane", event="vector", shape=(2,), mean=(1.0, -2.0), std=(0.5, 3.0))
IMAGE = DataSpec(name="patches", event="image", shape=(1, 5, 6), levels=17)


def made(spec: DataSpec = PLANE, **options: Any) -> EnergyModel:
    torch.manual_seed(0)
    return build(EnergyConfig(**{"hidden": 16, "channels": 4, "num_chains": 64, **options}), spec).eval()


class Quadratic(nn.Module):
    """f(z) = ½ k ‖z‖² + w · z: with the standard normal as base p is N(−w / (1 + k), 1 / (1 + k))."""

    def __init__(self, k: float = 3.0, w: tuple[float, ...] = (2.0, -1.0)) -> None:
        super().__init__()
        self.k, self.w = nn.Parameter(torch.tensor(k)), nn.Parameter(torch.tensor(w))

    def forward(self, z: Tensor) -> Tensor:
        return 0.5 * self.k * z.square().sum(1) + z @ self.w

    @property
    def log_z(self) -> float:
        k, w = self.k.detach().double(), self.w.detach().double()
        return float(0.5 * w.square().sum() / (1 + k) - 0.5 * len(w) * (1 + k).log())


def quadratic(**options: Any) -> EnergyModel:
    model = made(**options)
    model.tilt = Quadratic()  # type: ignore[assignment]
    return model


class Recorded:
    """Optimisers that take no step, and keep what they are told of a batch."""

    def __init__(self) -> None:
        self.totals: dict[str, Tensor] = {}

    def minimize(self, loss: Tensor, group: str = "model") -> None:
        pass

    def sum(self, name: str, value: Tensor) -> None:
        self.totals[name] = self.totals.get(name, 0) + value

    def rows(self, name: str, value: Tensor) -> None:
        self.totals[name] = torch.cat([self.totals[name], value]) if name in self.totals else value


# -- the base -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("full", [True, False])
def test_the_base_is_the_gaussian_of_the_examples_seen(full: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, -1.0, 0.1]])
    z = torch.randn(5000, 3, generator=generator) @ mixing.T + torch.tensor([1.0, 2.0, 3.0])
    base = GaussianBase(3, full=full)
    base.fit(len(z), sum(base.moments(part) for part in z.split(512)))
    u = base.whiten(z)
    torch.testing.assert_close(base.colour(u), z, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(u.mean(0), torch.zeros(3), rtol=0, atol=1e-4)
    covariance = torch.cov(u.T)
    wanted = torch.eye(3) if full else torch.corrcoef(z.T)
    torch.testing.assert_close(covariance, wanted, rtol=0, atol=5e-3)
    expected = torch.cov(z.T).logdet() / 2 if full else z.std(0).log().sum()
    assert float(base.log_det()) == pytest.approx(float(expected), abs=5e-3)


@pytest.mark.parametrize("full", [True, False])
def test_a_constant_number_and_fewer_examples_than_numbers_leave_a_regular_base(full: bool) -> None:
    z = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    z[:, 2] = 0.25
    base = GaussianBase(6, full=full)
    base.fit(3, base.moments(z))
    assert base.scale.isfinite().all()
    assert base.whiten(z).isfinite().all()


# -- the energy ---------------------------------------------------------------------------------------------


def test_the_energy_is_the_negative_log_density_and_its_slope_the_score() -> None:
    model = made()
    model.base.fit(100, model.base.moments(torch.randn(100, 2, generator=torch.Generator().manual_seed(1))))
    x = torch.tensor([[1.0, -2.0], [0.3, 4.0], [1.5, -3.0]])
    energy = model.energy(x)
    torch.testing.assert_close(energy, -model.log_prob(x).nats.float())
    step = 1e-2 * torch.eye(2) * torch.tensor([0.5, 3.0])
    slopes = torch.stack([(model.energy(x + d) - model.energy(x - d)) / (2 * d.sum()) for d in step], dim=1)
    torch.testing.assert_close(model.score(x), -slopes, rtol=2e-2, atol=1e-3)


def test_the_slope_in_the_bases_coordinates_is_that_of_the_energy() -> None:
    model = made()
    u = torch.randn(4, 2, generator=torch.Generator().manual_seed(2)).requires_grad_()
    z = model.base.colour(u)
    (expected,) = torch.autograd.grad(model.potential(z, None).sum(), u)
    energy, slope = model.slope(u)
    torch.testing.assert_close(slope, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(energy, model.potential(z, None).detach() - model.base.log_det().float())


# -- log Z --------------------------------------------------------------------------------------------------


def test_every_estimator_of_log_z_agrees_with_the_closed_form() -> None:
    model = quadratic()
    truth = model.tilt.log_z
    exact = model.log_normalizer({"name": "quadrature", "num_steps": 128})
    assert exact.nats == pytest.approx(truth, abs=1e-4)
    assert abs(exact.check or 0) < 1e-4
    for estimator in (
        {"name": "ais", "num_samples": 32, "num_steps": 40},
        {"name": "importance", "num_samples": 20000},
    ):
        found = model.log_normalizer(estimator)
        assert found.standard_error is not None
        assert found.standard_error < 0.1
        assert found.nats == pytest.approx(truth, abs=0.05 + 3 * found.standard_error)
        assert found.check is not None
        assert abs(found.check) < 0.1
        assert str(found).startswith(f"log Z = {found.nats:.4f} ± ")


def test_with_log_z_taken_off_the_likelihood_is_that_of_the_gaussian() -> None:
    model = quadratic()
    x = torch.tensor([[1.0, -2.0], [0.6, 1.0]])
    answer = model.log_prob(x, estimator={"name": "quadrature", "num_steps": 128})
    k, w = model.tilt.k.detach(), model.tilt.w.detach()
    z = (x - torch.tensor(PLANE.mean)) / torch.tensor(PLANE.std)
    expected = torch.distributions.Normal(-w / (1 + k), (1 + k) ** -0.5).log_prob(z).sum(1) - math.log(0.5 * 3.0)
    assert answer.kind == "estimate"
    torch.testing.assert_close(answer.nats.float(), expected, rtol=0, atol=1e-3)


def test_few_temperatures_hold_log_z_between_two_bounds_and_the_gap_is_the_check() -> None:
    model = quadratic()
    model.tilt = Quadratic(40.0, (25.0, -10.0))  # type: ignore[assignment]
    x = torch.zeros(1, 2)
    gaps = []
    for seed in range(6):
        found = model.log_normalizer({"name": "ais", "num_samples": 4, "num_steps": 4}, seed=seed)
        assert found.upper is not None
        gaps.append((model.tilt.log_z - found.nats, found.upper - model.tilt.log_z))
    below, above = torch.tensor(gaps).mean(0).tolist()
    assert below > 0.1
    assert above > 0.1
    answer = model.log_prob(x, seed=5, estimator={"name": "ais", "num_samples": 4, "num_steps": 4})
    assert answer.check is not None
    assert float(answer.check[0]) == pytest.approx(sum(gaps[-1]), abs=1e-5)
    assert answer.shared_error is not None


class RingTilt(nn.Module):
    """−log of eight narrow Gaussians over the standard normal, and 1.7: log Z is −1.7."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        angles = 2 * math.pi * torch.arange(8) / 8
        self.centres, self.std = math.sqrt(2) * torch.stack([angles.cos(), angles.sin()], dim=1), 0.05

    def forward(self, z: Tensor) -> Tensor:
        squares = (z[:, None] - self.centres).square().sum(2) / self.std**2
        log_ring = (-0.5 * squares).logsumexp(1) - math.log(8 * 2 * math.pi * self.std**2)
        return log_normal(z) - log_ring + 1.7


@pytest.mark.parametrize(
    ("estimator", "tolerance"),
    [
        ({"name": "quadrature"}, 1e-3),
        ({"name": "importance", "num_samples": 100_000}, 0.05),
        pytest.param({"name": "ais", "num_samples": 500, "num_steps": 300}, 0.05, marks=pytest.mark.slow),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_log_z_of_a_ring_of_narrow_modes_is_within_a_twentieth_of_a_nat(
    estimator: dict[str, Any], tolerance: float
) -> None:
    model = made()
    model.tilt = RingTilt()  # type: ignore[assignment]
    found = model.log_normalizer(estimator)
    assert found.nats == pytest.approx(-1.7, abs=tolerance)
    assert found.upper is None or -1.75 < found.upper < -1.6


def test_rejection_draws_all_modes_of_the_ring_alike() -> None:
    model = made()
    model.tilt = tilt = RingTilt()  # type: ignore[assignment]
    z = (model.sample(2000, sampler="rejection") - torch.tensor(PLANE.mean)) / torch.tensor(PLANE.std)
    distances = torch.cdist(z, tilt.centres)
    assert (distances.min(1).values < 4 * tilt.std).float().mean() > 0.999
    counts = torch.bincount(distances.argmin(1), minlength=8).double()
    assert float(((counts - 250) ** 2 / 250).sum()) < 24.3  # the 0.1 % point of chi-squared with 7 degrees of freedom


def test_importance_says_how_much_of_the_density_its_draws_never_reached() -> None:
    model = quadratic()
    model.tilt = Quadratic(4000.0, (12000.0, 0.0))  # type: ignore[assignment]
    found = model.log_normalizer({"name": "importance", "num_samples": 50})
    assert found.nats < model.tilt.log_z - 5
    assert found.check is not None
    assert found.check > 3


def test_log_z_follows_the_weights_and_is_found_once_for_all_examples() -> None:
    model = quadratic()
    estimator = {"name": "quadrature", "num_steps": 64}
    before = model.log_normalizer(estimator)
    assert model.log_normalizer(estimator) is before
    with torch.no_grad():
        model.tilt.w.mul_(0.5)  # type: ignore[operator]
    assert model.log_normalizer(estimator).nats == pytest.approx(model.tilt.log_z, abs=1e-3)


def test_what_is_for_the_plane_is_refused_for_images_with_what_to_use_instead() -> None:
    model = made(IMAGE)
    with pytest.raises(
        UsageError, match="at most 2 numbers, and those of 'patches' have 30: use 'metropolis' or 'langevin'"
    ):
        model.sample(1, sampler="rejection")
    with pytest.raises(UsageError, match="use 'ais' or 'importance'"):
        model.log_normalizer("quadrature")
    with pytest.raises(UsageError, match="even number"):
        made().log_normalizer({"name": "quadrature", "num_steps": 63})


# -- samplers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sampler",
    [
        {"name": "langevin", "num_steps": 60, "step_size": 0.05},
        {"name": "metropolis", "num_steps": 60},
        {"name": "rejection", "num_cells": 64},
    ],
    ids=lambda sampler: str(sampler["name"]),
)
def test_samplers_draw_from_the_density(sampler: dict[str, Any]) -> None:
    model = quadratic()
    num = 3000
    x = model.sample(num, sampler=sampler)
    z = (x - torch.tensor(PLANE.mean)) / torch.tensor(PLANE.std)
    mean, variance = -model.tilt.w.detach() / 4, 0.25
    torch.testing.assert_close(z.mean(0), mean, rtol=0, atol=5 * math.sqrt(variance / num))
    bias = 0.05 * 4 / 4 if sampler["name"] == "langevin" else 0.0  # an unadjusted chain is wider: 1 / (1 − ηk/4)
    torch.testing.assert_close(z.var(0), torch.full((2,), variance * (1 + bias)), rtol=0.13, atol=0)


def test_rejection_says_where_its_envelope_is_too_low() -> None:
    class Spike(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return -30 * (-(z - 0.11).square().sum(1) / 2e-4).exp()

    model = made()
    model.tilt = Spike()  # type: ignore[assignment]
    with pytest.raises(UsageError, match="more cells than num_cells = 8"):
        model.sample(4000, sampler={"name": "rejection", "num_cells": 8})


def test_a_chain_in_a_box_of_steep_walls_is_not_stuck_for_its_first_step_size() -> None:
    model = made()
    model.tilt = Quadratic(2000.0, (0.0, 0.0))  # type: ignore[assignment]
    x = model.sample(200, sampler={"name": "metropolis", "num_steps": 200, "step_size": 1.0})
    z = (x - torch.tensor(PLANE.mean)) / torch.tensor(PLANE.std)
    torch.testing.assert_close(z.std(0), torch.full((2,), 2001**-0.5), rtol=0.2, atol=0)


def test_a_chain_that_cools_ends_as_narrow_as_its_temperature_says() -> None:
    sampler = {"num_steps": 90, "temperature": 0.25}
    model = quadratic()
    z = (model.sample(2000, sampler=sampler) - torch.tensor(PLANE.mean)) / torch.tensor(PLANE.std)
    torch.testing.assert_close(z.var(0), torch.full((2,), 0.25 * 0.25), rtol=0.13, atol=0)
    path = model.sample_path(4, sampler=sampler, num_frames=4)
    assert path.labels == ("step 0", "step 30", "step 60", "sample")
    torch.testing.assert_close(path.frames[-1], model.sample(4, sampler=sampler))
    with pytest.raises(UsageError, match="temperature is 0, expected a number above 0"):
        model.sample(1, sampler={"temperature": 0})


def test_the_path_of_rejection_is_what_was_proposed_first_and_what_was_taken() -> None:
    path = quadratic().sample_path(50, sampler={"name": "rejection", "num_cells": 64}, seed=3)
    assert path.labels == ("first proposal", "sample")
    taken_at_once = (path.frames[0] == path.frames[1]).all(1)
    assert 0 < taken_at_once.sum() < 50


def test_only_a_model_of_data_with_noise_can_take_it_off_and_does() -> None:
    with pytest.raises(UsageError, match="persistent_cd"):
        made().sample(1, sampler={"denoise": 1})
    model = quadratic(training="denoising_score_matching", noise_std=0.5)
    model.tilt = Quadratic(1 / 3, (0.0, 0.0))  # type: ignore[assignment]
    for denoise, variance in ((0, 0.75), (None, 0.75 * (1 - 0.25 / 0.75) ** 2)):
        x = model.sample(3000, sampler={"name": "rejection", "num_cells": 64, "denoise": denoise})
        z = (x - torch.tensor(PLANE.mean)) / torch.tensor(PLANE.std)
        torch.testing.assert_close(z.var(0), torch.full((2,), variance), rtol=0.13, atol=0)


# -- training -----------------------------------------------------------------------------------------------


def test_the_contrast_has_the_slope_of_the_negative_log_likelihood() -> None:
    """On a Gaussian family: of chains that are draws of the model, E f(data) − E f(model) has the gradient ∂(−log p)/∂θ."""
    model = quadratic(num_chains=4000, restart=0.0, chain_steps=1, step_size=1e-6, regularization=0.0)
    k, w = model.tilt.k.detach(), model.tilt.w.detach()
    exact = -w / (1 + k) + Noise(0, "exact").normal("u", (4000, 2)) / (1 + k).sqrt()
    model.chains.copy_(exact)
    z = Noise(1, "data").normal("z", (4000, 2))
    terms, _ = OBJECTIVES["persistent_cd"](model, z, Noise(0, "train"))
    terms["loss"].backward()
    tilt = model.tilt
    log_z = 0.5 * tilt.w.square().sum() / (1 + tilt.k) - (1 + tilt.k).log()
    grads = torch.autograd.grad(tilt(z).mean() + log_z, [tilt.k, tilt.w])
    torch.testing.assert_close(tilt.k.grad, grads[0], rtol=0, atol=0.1)
    torch.testing.assert_close(tilt.w.grad, grads[1], rtol=0, atol=0.05)


@pytest.mark.parametrize("noise_std_max", [None, 0.5])
def test_score_matching_is_least_at_the_density_of_data_with_noise(noise_std_max: float | None) -> None:
    """Data N(0, ½ I) with noise of deviation ½ is N(0, ¾ I), whose tilt of N(0, I) is ½ (4/3 − 1) ‖u‖²."""
    model = quadratic(training="denoising_score_matching", noise_std=0.5, noise_std_max=noise_std_max)
    z = math.sqrt(0.5) * Noise(1, "data").normal("z", (20000, 2))
    losses = {}
    for k in (0.0, 0.2, 1 / 3, 0.5, 0.8):
        model.tilt = Quadratic(k, (0.0, 0.0))  # type: ignore[assignment]
        losses[k] = float(model.loss(z, None, Noise(0, "train"))["loss"].detach())
    assert min(losses, key=losses.__getitem__) == pytest.approx(1 / 3)
    assert losses[1 / 3] == pytest.approx(0.5 * (1 - 0.25 / 0.75), rel=0.02)


def test_score_matching_at_many_levels_is_least_at_the_mixture_of_their_densities() -> None:
    """Data N(0, s² I) with noise σ is N(0, (s² + σ²) I): one half at σ = 0.3, the other log-uniform up to 2."""
    low, high, variance = 0.3, 2.0, 0.5
    levels = low * (high / low) ** torch.cat([torch.zeros(200), (torch.arange(200) + 0.5) / 200])

    class Mixture(nn.Module):
        def __init__(self, sigmas: Tensor, factor: float = 1.0) -> None:
            super().__init__()
            self.variances, self.factor = variance + sigmas.square(), factor

        def forward(self, u: Tensor) -> Tensor:
            of_levels = -0.5 * u.square().sum(1, keepdim=True) / self.variances - self.variances.log()
            return log_normal(u) - self.factor * of_levels.logsumexp(1)

    candidates = {"mixture": Mixture(levels), "lowest": Mixture(levels[:1]), "highest": Mixture(levels[-1:])}
    candidates |= {f"times {factor}": Mixture(levels, factor) for factor in (0.8, 1.2)}
    candidates["levels alike"] = Mixture(levels[200:])
    model = quadratic(training="denoising_score_matching", noise_std=low, noise_std_max=high)
    z = math.sqrt(variance) * Noise(1, "data").normal("z", (20000, 2))
    losses = {}
    for name, tilt in candidates.items():
        model.tilt = tilt  # type: ignore[assignment]
        losses[name] = float(model.loss(z, None, Noise(0, "train"))["loss"].detach())
    assert min(losses, key=losses.__getitem__) == "mixture"


def test_a_highest_level_of_noise_below_the_lowest_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"noise_std_max is 0.2, below noise_std, 0.3: it is the highest level"):
        EnergyConfig(noise_std_max=0.2)


def test_noise_contrast_is_least_at_the_normalised_density() -> None:
    model = made(training="noise_contrastive", noise_ratio=2)
    k, w = 1.0, (0.5, 0.0)
    tilt = Quadratic(k, w)
    z = -torch.tensor(w) / (1 + k) + Noise(1, "data").normal("z", (20000, 2)) / math.sqrt(1 + k)
    losses = {}
    for shift in (-0.5, -0.2, 0.0, 0.2, 0.5):

        class Shifted(nn.Module):
            def forward(self, x: Tensor, by: float = shift + tilt.log_z) -> Tensor:
                return tilt(x) + by

        model.tilt = Shifted()  # type: ignore[assignment]
        losses[shift] = float(model.loss(z, None, Noise(0, "train"))["loss"].detach())
    assert min(losses, key=losses.__getitem__) == 0.0


def test_a_batch_moves_the_chains_after_the_step_as_parts_of_it_would() -> None:
    """Micro-batches and workers see the chains of the step before, and together give the whole batch's."""
    z = Noise(3, "data").normal("z", (8, 2))
    found = []
    for cuts in ((8,), (3, 5)):
        model, optimizers, first = made(num_chains=12), Recorded(), 16
        for part in z.split(cuts):
            model.train_step(Batch(part, None, Noise(0, "train", first)), optimizers, 2)
            first += len(part)
        model.after_step(optimizers.totals, 2)
        found.append(model)
    torch.testing.assert_close(found[0].chains, found[1].chains, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[0].base.scale, found[1].base.scale)
    moved = (found[0].chains != made(num_chains=12).chains).any(1)
    assert moved.nonzero()[:, 0].tolist() == [4, 5, 6, 7, 8, 9, 10, 11]  # examples 16 … 23 of the stream, modulo 12


def test_fewer_chains_than_examples_in_a_batch_is_a_mistake_of_the_recipe() -> None:
    model, optimizers = made(num_chains=4), Recorded()
    model.train_step(Batch(torch.zeros(6, 2), None, Noise(0, "train")), optimizers, 0)
    with pytest.raises(UsageError, match=r"num_chains is 4, and a batch has 6 .* lower train.batch_size"):
        model.after_step(optimizers.totals, 0)


def test_the_base_stays_once_it_is_fitted() -> None:
    model, optimizers = made(base_steps=1), Recorded()
    batch = Batch(Noise(0, "data").normal("z", (32, 2)) * 3, None, Noise(0, "train"))
    model.train_step(batch, optimizers, 0)
    model.after_step(optimizers.totals, 0)
    fitted = model.base.scale.clone()
    assert not torch.equal(fitted, torch.eye(2))
    again = Recorded()
    model.train_step(batch, again, 1)
    model.after_step(again.totals, 1)
    assert torch.equal(model.base.scale, fitted)


def test_chains_are_state_of_training_and_no_part_of_the_model() -> None:
    model = made()
    assert set(model.train_state) == {"base_num", "base_moments", "chains"}
    assert not {"chains", "base_num", "base_moments"} & set(model.state_dict())
    assert "chains" not in made(training="noise_contrastive").train_state
