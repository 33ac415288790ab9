"""Diffusion: schedules, samplers against the closed answer for Gaussian data, the bound against its definition."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from genpipe.data import Split, split_by_hash
from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.model import Sampler
from genpipe.noise import Noise
from genpipe.ops import schedules
from genpipe.plugins.diffusion.config import DiffusionConfig
from genpipe.plugins.diffusion.model import Diffusion, build
from genpipe.registry import registry
from genpipe.steps import ProgressFile
from genpipe.training.config import TrainConfig
from genpipe.training.loop import build_model, train

PLANE = DataSpec(name="plane", event="vector", shape=(2,), mean=(0.0, 0.0), std=(1.0, 1.0))
DIGITS = DataSpec(name="digits", event="image", shape=(1, 8, 8), levels=17)
VARIANCE = 0.25


def made(spec: DataSpec = PLANE, **options: Any) -> Diffusion:
    torch.manual_seed(0)
    return build(DiffusionConfig(**options), spec).eval()


class IdealDenoiser(nn.Module):
    """Predicts exactly, for data N(0, VARIANCE I): E[ε | x] = √(1−ᾱ) x / (ᾱ VARIANCE + 1 − ᾱ), and v from it."""

    def __init__(self, prediction_type: str) -> None:
        super().__init__()
        self.prediction_type = prediction_type

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        alpha_bar = log_snr.double().sigmoid()[:, None]
        total = alpha_bar * VARIANCE + 1 - alpha_bar
        e = (1 - alpha_bar).sqrt() * x / total
        x0 = alpha_bar.sqrt() * VARIANCE * x / total
        return e if self.prediction_type == "epsilon" else alpha_bar.sqrt() * e - (1 - alpha_bar).sqrt() * x0


def ideal(**options: Any) -> Diffusion:
    model = made(**options)
    model.network = IdealDenoiser(model.config.prediction_type)
    return model


def exact_log_density(z: Tensor) -> Tensor:
    return -0.5 * (z.square() / VARIANCE + math.log(2 * math.pi * VARIANCE)).sum(1)


# -- samplers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    ("name", "eta"), [("ddpm", None), ("ddim", 0.0), ("ddim", 0.5), ("ddim", 1.0), ("dpmsolver++", None)]
)
def test_with_the_ideal_denoiser_samples_are_the_data(prediction_type: str, name: str, eta: float | None) -> None:
    model = ideal(prediction_type=prediction_type, variance_type="fixed_small")
    sampler = Sampler(name, {"num_steps": 500} if eta is None else {"num_steps": 500, "eta": eta})
    x = model.generate(4000, None, Noise(0, "sample"), sampler)
    assert float(x.var()) == pytest.approx(VARIANCE, rel=0.05)
    assert float(x.mean()) == pytest.approx(0, abs=0.03)
    assert float((x**4).mean() / x.var() ** 2) == pytest.approx(3, abs=0.3)


@pytest.mark.parametrize("name", ["ddpm", "ddim", "dpmsolver++"])
def test_each_frame_of_a_path_has_the_noise_of_its_timestep(name: str) -> None:
    """Data N(0, VARIANCE I) is N(0, (ᾱ VARIANCE + 1 − ᾱ) I) at time t."""
    model = ideal(variance_type="fixed_small")
    path = model.generate_path(4000, None, Noise(0, "sample"), Sampler(name, {"num_steps": 200}), 5)
    timesteps = [int(label.removeprefix("t = ")) for label in path.labels[:-1]]
    assert timesteps == sorted(timesteps, reverse=True)
    alpha_bar = [*model.alpha_bar[timesteps].tolist(), 1.0]
    expected = [a * VARIANCE + 1 - a for a in alpha_bar]
    assert path.frames.flatten(1).var(1).tolist() == pytest.approx(expected, rel=0.06)


def test_deterministic_ddim_converges_to_the_probability_flow() -> None:
    """For Gaussian data the flow is a scaling: x(0) = x(T) √(VARIANCE / (ᾱ_T VARIANCE + 1 − ᾱ_T))."""
    model = ideal(schedule="linear")
    start = Noise(0, "sample").normal("start", (50, 2))
    last = float(model.alpha_bar[-1])
    expected = start * math.sqrt(VARIANCE / (last * VARIANCE + 1 - last))

    def error(name: str, num_steps: int) -> float:
        x = model.generate(50, None, Noise(0, "sample"), Sampler(name, {"num_steps": num_steps}))
        return float((x - expected).norm() / expected.norm())

    errors = [error("ddim", num_steps) for num_steps in (25, 100, 400)]
    assert errors[0] > 2.5 * errors[1] > 6 * errors[2]
    assert errors[2] < 0.02
    assert error("dpmsolver++", 25) < 0.2 * errors[0]


@pytest.mark.parametrize(
    ("sampler", "says"),
    [
        ({"num_steps": 0}, "num_steps is 0, expected a whole number from 1 on"),
        ({"num_steps": 1001}, "num_steps is 1001"),
        ({"name": "ddim", "eta": 1.5}, "eta is 1.5, expected 0 … 1"),
        ({"name": "ddpm", "eta": 0.5}, "'ddpm' has no option 'eta'; ddim has one"),
        ({"name": "dpmsolver++", "eta": 0.5}, "'dpmsolver\\+\\+' has no option 'eta'; ddim has one"),
    ],
)
def test_samplers_that_cannot_be_are_refused(sampler: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        made().sample(1, sampler=sampler)


def test_clipping_keeps_images_in_range_and_leaves_vectors_alone() -> None:
    x, t = 5 * torch.randn(4, 1, 8, 8), torch.tensor([0, 10, 500, 900])
    with torch.no_grad():
        assert made(DIGITS).denoise(x, t).abs().max() <= 1
        assert made(DIGITS, clip=False).denoise(x, t).abs().max() > 1
        assert made().denoise(5 * torch.randn(4, 2), t).abs().max() > 1


# -- the bound ------------------------------------------------------------------------------------------------


def full_bound(model: Diffusion, z: Tensor, noise: Noise) -> Tensor:
    """−(L_T + Σ_t L_t + L_0) term by term, each KL between two Gaussians written out (Ho et al., 2020, eq. 5-8)."""
    alpha_bar = model.alpha_bar
    last, num_dimensions = alpha_bar[-1], z[0].numel()
    z64 = z.double().flatten(1)
    total = 0.5 * (last * z64.square() + (1 - last) - 1 - (1 - last).log()).sum(1)
    for t in range(len(alpha_bar)):
        e = noise.normal(f"e{t}", tuple(z.shape))
        a_t = alpha_bar[t]
        x = (a_t.sqrt() * z + (1 - a_t).sqrt() * e).float()
        x0 = model.denoise(x, torch.full((len(z),), t)).double().flatten(1)
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
    return -total


@pytest.mark.parametrize("variance_type", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("spec", [PLANE, DIGITS], ids=lambda s: s.name)
def test_the_estimated_bound_is_that_of_all_terms(spec: DataSpec, prediction_type: str, variance_type: str) -> None:
    model = made(
        spec,
        num_timesteps=40,
        num_bound_evaluations=32,
        prediction_type=prediction_type,
        variance_type=variance_type,
        channels=8,
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


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_with_the_ideal_denoiser_the_bound_is_close_to_the_density_and_below(prediction_type: str) -> None:
    z = math.sqrt(VARIANCE) * torch.randn(3000, 2, generator=torch.Generator().manual_seed(0))
    gaps = []
    for num_timesteps in (50, 1000):
        model = ideal(num_timesteps=num_timesteps, prediction_type=prediction_type)
        nats = model.log_density(z, None, Noise(0, "x")).nats
        gaps.append(float((exact_log_density(z) - nats).mean()))
    assert gaps[0] > gaps[1]
    assert -0.01 < gaps[1] < 0.05


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_with_the_ideal_denoiser_the_flow_gives_the_density_and_its_check_says_how_nearly(prediction_type: str) -> None:
    model = ideal(prediction_type=prediction_type)
    z = math.sqrt(VARIANCE) * torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    fine, coarse = (model.log_prob(z, estimator={"name": "probability_flow", "num_steps": steps}) for steps in (50, 4))
    assert fine.kind == "estimate"
    assert fine.check is not None
    assert coarse.check is not None
    assert float((fine.nats - exact_log_density(z)).abs().mean()) < 2e-3
    assert float(fine.check.abs().mean()) < 5e-3
    assert float(coarse.check.abs().mean()) > 0.05
    with pytest.raises(UsageError, match="even number"):
        model.log_prob(z, estimator={"name": "probability_flow", "num_steps": 5})


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_with_the_ideal_denoiser_the_score_is_the_datas(prediction_type: str) -> None:
    model = ideal(prediction_type=prediction_type)
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model.score(x), -x / VARIANCE, rtol=1e-2, atol=1e-2)


def test_timesteps_of_the_bound_follow_the_fall_of_log_snr() -> None:
    model = made()
    shares = model.cumulative_weights.diff()
    log_snr = schedules.log_snr(model.alpha_bar)
    torch.testing.assert_close(shares, (log_snr[:-1] - log_snr[1:]) / (log_snr[0] - log_snr[-1]))
    assert float(model.cumulative_weights[0]) == 0
    assert float(model.cumulative_weights[-1]) == pytest.approx(1)


# -- the loss -------------------------------------------------------------------------------------------------


class Recording(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        self.seen.append(log_snr)
        return torch.zeros_like(x)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_timesteps_of_training_mix_the_uniform_and_the_bounds(share: float) -> None:
    model = made(bound_share=share)
    model.network = Recording()
    for batch in range(10):
        model.loss(torch.randn(500, 2), None, Noise(0, "train", batch * 500))
    seen = torch.cat(model.network.seen).double()
    levels = model.log_snr.double()
    mean_uniform = float(levels.mean())
    drops = model.cumulative_weights.diff()
    mean_bound = float((drops * levels[1:]).sum())
    expected = share * mean_bound + (1 - share) * mean_uniform
    assert float(seen.mean()) == pytest.approx(expected, abs=0.05)


def test_any_run_of_examples_covers_the_timesteps_evenly() -> None:
    model = made(bound_share=0.0)
    model.network = Recording()
    model.loss(torch.randn(64, 2), None, Noise(0, "train", 12_345_678))
    order = {float(level): t for t, level in enumerate(model.log_snr)}
    t = torch.tensor([order[float(level)] for level in model.network.seen[0]]) // 125
    assert torch.bincount(t, minlength=8).tolist() == pytest.approx([8] * 8, abs=2)


def test_a_network_that_predicts_nothing_has_loss_one() -> None:
    model = made(prediction_type="epsilon")
    model.network = Recording()
    loss = model.loss(torch.zeros(5000, 2), None, Noise(0, "train"))["loss"]
    assert float(loss) == pytest.approx(1, abs=0.03)


def test_both_predictions_denoise_alike() -> None:
    x, t = torch.randn(6, 2), torch.tensor([0, 1, 100, 500, 900, 999])
    epsilon, v = (ideal(prediction_type=p).denoise(x, t) for p in ("epsilon", "v_prediction"))
    torch.testing.assert_close(epsilon[:-1], v[:-1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 5, 7), (1, 1, 9)])
@pytest.mark.parametrize("options", [{}, {"channel_multipliers": (1, 2, 2), "num_blocks": 2, "attention": False}])
def test_images_of_any_size_pass_the_network(shape: tuple[int, int, int], options: dict[str, Any]) -> None:
    spec = DataSpec(name="images", event="image", shape=shape, low=0.0, high=1.0)
    model = made(spec, channels=4, num_bound_evaluations=2, **options)
    x = torch.rand(2, *shape)
    assert model.sample(2, sampler={"num_steps": 2}).shape == x.shape
    assert model.log_prob(x).nats.isfinite().all()


@pytest.mark.slow
def test_digits_are_bounded_far_below_one_gaussian(tmp_path: Path) -> None:
    record = registry().get("dataset", "digits")
    raw = record.builder(record.config_class(), 0)
    indices = split_by_hash(len(raw.x), {"test": 0.2}, 0)
    split = Split(raw.spec, "train", raw.x[indices["train"]], None)
    model = build_model(registry().get("family", "diffusion"), DiffusionConfig(), raw.spec, seed=0)
    config = TrainConfig(steps=1500, batch_size=64, ema_decay=0.998)
    train(model, split, config, seed=0, device="cpu", scratch=tmp_path, progress=ProgressFile(None))
    bits = model.units.bits_per_dim(model.log_prob(torch.from_numpy(raw.x[indices["test"]])).nats)
    assert float(bits.mean()) < 2.5
