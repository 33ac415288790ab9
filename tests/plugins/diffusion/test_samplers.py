"""The samplers of diffusion and flow matching: Gaussian data's closed answers, and diffusers step for step."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from genpipe.errors import UsageError
from genpipe.model import Model
from genpipe.noise import Noise
from genpipe.ops import schedules
from genpipe.plugins.diffusion.ladder import levels
from genpipe.plugins.diffusion.model import Diffusion
from tests.plugins.diffusion.ideal import (
    DIGITS,
    PLANE,
    VARIANCE,
    IdealDenoiser,
    diffusion,
    flow_matching,
    ideal,
)

PREDICTION_TYPES = ["epsilon", "v_prediction", "edm"]


def drawn(model: Model, num: int, name: str, **options: Any) -> Tensor:
    sampler = model.choose_sampler({"name": name, **options})
    with torch.no_grad():
        return model.generate(num, None, Noise(0, "sample"), sampler)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ddpm", {"num_steps": 500}),
        ("ddim", {"num_steps": 500}),
        ("ddim", {"num_steps": 500, "eta": 0.5}),
        ("ddim", {"num_steps": 500, "eta": 1.0}),
        ("dpmsolver++", {"num_steps": 100}),
        ("heun", {"num_steps": 50}),
        ("euler", {"num_steps": 500}),
    ],
)
def test_with_the_ideal_denoiser_samples_are_the_data(prediction_type: str, name: str, options: dict[str, Any]) -> None:
    x = drawn(ideal(prediction_type=prediction_type), 4000, name, **options)
    assert float(x.var()) == pytest.approx(VARIANCE, rel=0.06)
    assert float(x.mean()) == pytest.approx(0, abs=0.03)
    assert float((x**4).mean() / x.var() ** 2) == pytest.approx(3, abs=0.3)


@pytest.mark.parametrize("name", ["heun", "euler", "dpmsolver++"])
def test_a_straight_flow_of_gaussian_data_ends_in_it(name: str) -> None:
    """Data N(0, VARIANCE I): x(0) = √VARIANCE x(1) along the exact flow."""
    model = flow_matching()
    model.network = IdealDenoiser("velocity", VARIANCE)
    start = Noise(0, "sample").normal("start", (50, 2))
    exact = start * VARIANCE**0.5
    errors = [float((drawn(model, 50, name, num_steps=n) - exact).norm() / start.norm()) for n in (10, 40)]
    assert errors[1] < (0.02 if name == "euler" else 0.005)
    assert errors[0] > {"euler": 3, "heun": 8, "dpmsolver++": 1}[name] * errors[1]


@pytest.mark.parametrize("name", ["ddpm", "ddim", "dpmsolver++"])
def test_each_frame_of_a_path_has_the_noise_of_its_timestep(name: str) -> None:
    """Data N(0, VARIANCE I) is N(0, (ᾱ VARIANCE + 1 − ᾱ) I) at time t."""
    model = ideal()
    sampler = model.choose_sampler({"name": name, "num_steps": 200, "rho": 1})
    path = model.generate_path(4000, None, Noise(0, "sample"), sampler, 5)
    timesteps = [int(label.removeprefix("t = ")) for label in path.labels[:-1]]
    assert timesteps == sorted(timesteps, reverse=True)
    alpha_bar = [*model.ladder.alpha_bar[timesteps].tolist(), 1.0]
    expected = [a * VARIANCE + 1 - a for a in alpha_bar]
    assert path.frames.flatten(1).var(1).tolist() == pytest.approx(expected, rel=0.06)


def test_a_path_of_heun_shows_where_its_steps_end() -> None:
    model = ideal(prediction_type="edm")
    sampler = model.choose_sampler({"name": "heun", "num_steps": 6})
    path = model.generate_path(3, None, Noise(0, "sample"), sampler, 7)
    ratios = path.frames[1:] / path.frames[:-1]
    assert path.labels[0] == "σ = 80"
    torch.testing.assert_close(ratios, ratios[:, :1, :1].expand_as(ratios))  # the flow of Gaussian data is a scaling
    assert float(ratios.min()) > 0


@pytest.mark.parametrize("rho", [1.0, 2.0, 7.0])
@pytest.mark.parametrize("num_steps", [1, 7, 1000])
def test_times_fall_from_the_last_and_rho_brings_them_down_to_the_first(rho: float, num_steps: int) -> None:
    ladder = diffusion().ladder
    t = ladder.times(num_steps, rho)
    assert float(t[0]) == pytest.approx(999, abs=1e-9)
    if rho == 1:
        assert t.tolist() == schedules.timesteps(1000, num_steps)
    elif num_steps > 1:
        assert float(t[-1]) == pytest.approx(0, abs=1e-9)
        roots = (t + 1) ** (1 / rho)
        torch.testing.assert_close(roots.diff(), roots.diff()[:1].expand(num_steps - 1))
    log_snr = ladder.at(t)
    assert (log_snr.diff() > 0).all()
    assert (ladder.log_snr[t.ceil().long()] <= log_snr).all()
    torch.testing.assert_close(ladder.at(torch.arange(1000).double()), ladder.log_snr, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "num_steps"), [("dpmsolver++", 50), ("ddim", 100), ("ddpm", 200)])
def test_modes_much_narrower_than_the_data_come_out_as_wide_as_they_are(name: str, num_steps: int) -> None:
    """Even timesteps end far above the deviation, and with the denoised mean: as a share of it, less than it."""
    model, deviation = ideal(), 0.035
    model.network = IdealDenoiser("v_prediction", deviation**2)
    even, squares = (float(drawn(model, 2000, name, num_steps=num_steps, rho=rho).std()) for rho in (1, 2))
    assert even < 0.93 * deviation
    assert squares == pytest.approx(deviation, rel=0.06)


def test_deterministic_ddim_converges_to_the_probability_flow() -> None:
    """For Gaussian data the flow is a scaling: x(0) = x(T) √(VARIANCE / (ᾱ_T VARIANCE + 1 − ᾱ_T))."""
    model = ideal(schedule="linear")
    start = Noise(0, "sample").normal("start", (50, 2))
    last = float(model.ladder.alpha_bar[-1])
    expected = start * math.sqrt(VARIANCE / (last * VARIANCE + 1 - last))

    def error(name: str, num_steps: int) -> float:
        return float((drawn(model, 50, name, num_steps=num_steps, rho=1) - expected).norm() / expected.norm())

    errors = [error("ddim", num_steps) for num_steps in (25, 100, 400)]
    assert errors[0] > 2.5 * errors[1] > 6 * errors[2]
    assert errors[2] < 0.02
    assert error("dpmsolver++", 25) < 0.2 * errors[0]


@pytest.mark.parametrize(
    ("name", "expected"), [("euler", [0.2696, 0.1539, 0.0780]), ("heun", [0.2196, 0.0553, 0.0122])]
)
def test_errors_on_edms_grid_are_the_known_ones(name: str, expected: list[float]) -> None:
    """N(0, 0.25 I) from σ = 80 to 0.002: the exact flow gives x(0) = x(80)·0.5/√(0.25 + 6400)."""
    model = ideal(prediction_type="edm")
    model.ladder.log_snr[0], model.ladder.log_snr[-1] = 30.0, -30.0  # a grid that the levels of training do not cut
    start = Noise(0, "sample").normal("start", (4, 2))
    # Pure noise at σ = 80 has a deviation of √(sigma_data² + 80²).
    exact = start * math.sqrt(float(model.sigma_data) ** 2 + 6400) * 0.5 / math.sqrt(0.25 + 6400)
    errors = [float((drawn(model, 4, name, num_steps=n) / exact).mean()) - 1 for n in (10, 18, 36)]
    assert [abs(error) for error in errors] == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(
    ("sampler", "says"),
    [
        ({"num_steps": 1001}, "num_steps is 1001, expected 1 … 1000"),
        ({"name": "ddim", "eta": 1.5}, "eta is 1.5, expected 0 … 1"),
        ({"rho": 0.5}, "rho is 0.5, expected 1 or more"),
        ({"name": "ddpm", "eta": 0.5}, "'ddpm' has no option 'eta'"),
        ({"guidance": 2.0}, "guidance is 2, but the model takes no labels"),
    ],
)
def test_samplers_that_cannot_be_are_refused(sampler: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        diffusion().sample(1, sampler=sampler)


def test_a_flow_with_a_shift_that_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="shift is 0, expected more than 0"):
        flow_matching().sample(1, sampler={"shift": 0.0})


def test_clipping_keeps_images_in_range_and_leaves_vectors_alone() -> None:
    x, log_snr = 5 * torch.randn(4, 1, 8, 8), torch.tensor([9.0, 3.0, 0.0, -6.0], dtype=torch.float64)
    with torch.no_grad():
        assert diffusion(DIGITS).predict(x, log_snr)[0].abs().max() <= 1
        assert diffusion(DIGITS, prediction_type="edm").predict(x, log_snr)[0].abs().max() <= 2  # 1 / sigma_data
        assert diffusion(DIGITS, clip=False).predict(x, log_snr)[0].abs().max() > 1
        assert diffusion().predict(5 * torch.randn(4, 2), log_snr)[0].abs().max() > 1


# -- diffusers, over the same network and noise ---------------------------------------------------------------

NUMPY_COPIES = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
NUM = 3


def moved(model: Model) -> Any:
    """Away from the start, where the network gives nothing but zeros."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


def theirs(name: str, num_steps: int, **options: Any) -> Any:
    diffusers = pytest.importorskip("diffusers")
    scheduler = getattr(diffusers, name)(**options)
    scheduler.set_timesteps(num_steps)
    return scheduler


def of_ladder(scheduler: Any, model: Diffusion) -> Any:
    scheduler.alphas_cumprod = model.ladder.alpha_bar.clone()
    scheduler.final_alpha_cumprod = scheduler.one = torch.tensor(1.0, dtype=torch.float64)
    return scheduler


def followed(scheduler: Any, x: Tensor, network: Any, **options: Any) -> Tensor:
    for i, t in enumerate(scheduler.timesteps):
        noise = {"variance_noise": Noise(0, "sample").normal(f"step {i}", tuple(x.shape))} if options.get("eta") else {}
        x = scheduler.step(network(x, t, i), t, x, **options, **noise).prev_sample
    return x


def images(model: Diffusion) -> Tensor:
    return Noise(0, "sample").normal("start", (NUM, *model.spec.shape))


@torch.no_grad()
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("eta", [0.0, 0.6])
def test_ddim_is_diffusers(prediction_type: str, eta: float) -> None:
    model = moved(diffusion(DIGITS, prediction_type=prediction_type, channels=4, schedule="linear"))
    scheduler = of_ladder(
        theirs("DDIMScheduler", 10, prediction_type=prediction_type, timestep_spacing="trailing"), model
    )
    expected = followed(
        scheduler,
        images(model),
        lambda x, t, i: model.network(x, model.ladder.log_snr[t].float().expand(NUM)),
        eta=eta,
        use_clipped_model_output=True,
    )
    ours = drawn(model, NUM, "ddim", num_steps=10, eta=eta, rho=1)
    if eta:  # their last step keeps the noise of t = 0
        expected, ours = expected.clamp(-1, 1), ours.clamp(-1, 1)
    torch.testing.assert_close(ours, expected.float(), rtol=1e-3, atol=0.02 if eta else 1e-3)


@torch.no_grad()
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_ddpm_is_diffusers(prediction_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = moved(diffusion(DIGITS, prediction_type=prediction_type, channels=4, schedule="linear"))
    scheduler = of_ladder(
        theirs("DDPMScheduler", 10, prediction_type=prediction_type, timestep_spacing="trailing"), model
    )
    module = pytest.importorskip("diffusers.schedulers.scheduling_ddpm")
    steps = iter(range(10))
    monkeypatch.setattr(
        module, "randn_tensor", lambda shape, **_: Noise(0, "sample").normal(f"step {next(steps)}", tuple(shape))
    )
    expected = followed(
        scheduler, images(model), lambda x, t, i: model.network(x, model.ladder.log_snr[t].float().expand(NUM))
    )
    torch.testing.assert_close(drawn(model, NUM, "ddpm", num_steps=10, rho=1), expected.float(), rtol=1e-2, atol=5e-3)


@NUMPY_COPIES
@torch.no_grad()
def test_dpmsolver_is_diffusers() -> None:
    model = moved(diffusion(DIGITS, channels=4, schedule="linear", clip=False))
    scheduler = theirs(
        "DPMSolverMultistepScheduler",
        20,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        beta_start=1e-4,
        beta_end=0.02,
        final_sigmas_type="zero",
    )
    expected = followed(
        scheduler, images(model), lambda x, t, i: model.network(x, model.ladder.log_snr[t].float().expand(NUM))
    )
    torch.testing.assert_close(drawn(model, NUM, "dpmsolver++", num_steps=20, rho=1), expected, rtol=1e-3, atol=2e-3)


class Preconditioned:
    """Karras et al. (2022), eq. 7 and table 1, written out over x + σ ε."""

    def __init__(self, model: Diffusion) -> None:
        self.model, self.sigma_data = model, float(model.sigma_data)

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        total = math.sqrt(sigma**2 + self.sigma_data**2)
        c_skip, c_out, c_in = self.sigma_data**2 / total**2, sigma * self.sigma_data / total, 1 / total
        log_snr = torch.full((len(x),), 2 * math.log(self.sigma_data / sigma))
        output = -self.model.network(c_in * x, log_snr, None, self.model.sigma_data)  # F is −v
        return c_skip * x + c_out * output


@torch.no_grad()
@pytest.mark.parametrize("spec", [PLANE, DIGITS], ids=lambda spec: spec.name)
def test_edm_is_the_preconditioning_of_karras_et_al(spec: Any) -> None:
    model = moved(diffusion(spec, prediction_type="edm", channels=4, clip=False))
    denoise = Preconditioned(model)
    for sigma in (0.01, 0.5, 3.0, 60.0):
        x = torch.randn(2, *spec.shape) * sigma
        log_snr = torch.full((2,), 2 * math.log(denoise.sigma_data / sigma), dtype=torch.float64)
        u, _ = model.predict(x / denoise.sigma_data * levels(log_snr)[0, 0].float(), log_snr)
        torch.testing.assert_close(u * denoise.sigma_data, denoise(x, sigma), rtol=1e-4, atol=1e-5)


@NUMPY_COPIES
@torch.no_grad()
@pytest.mark.parametrize(("ours", "name"), [("euler", "EulerDiscreteScheduler"), ("heun", "HeunDiscreteScheduler")])
def test_edm_steps_are_diffusers(ours: str, name: str) -> None:
    model = moved(diffusion(DIGITS, prediction_type="edm", channels=4, clip=False))
    lowest, highest = (model.ladder.log_snr[[0, -1]].neg() / 2).exp().tolist()
    sigma_min, sigma_max = max(0.002, 0.5 * lowest), min(80.0, 0.5 * highest)
    scheduler = theirs(name, 8, use_karras_sigmas=True, prediction_type="sample")
    sigmas = schedules.karras_sigmas(8, sigma_min, sigma_max).float()
    scheduler.sigmas = (
        sigmas if ours == "euler" else torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
    )
    scheduler.timesteps = torch.arange(len(scheduler.sigmas) - 1, dtype=torch.float32)
    denoise = Preconditioned(model)
    x = images(model) * math.sqrt(0.5**2 + sigma_max**2)
    expected = followed(scheduler, x, lambda x, t, i: denoise(x, float(scheduler.sigmas[i])))
    torch.testing.assert_close(drawn(model, NUM, ours, num_steps=8), expected, rtol=1e-3, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("name", ["euler", "heun"])
def test_flow_matching_steps_are_diffusers(name: str) -> None:
    model = moved(flow_matching(DIGITS, channels=4, clip=False))
    scheduler = theirs(f"FlowMatch{name.title()}DiscreteScheduler", 8)
    times = schedules.flow_times(8).float()
    scheduler.sigmas = (
        times if name == "euler" else torch.cat([times[:1], times[1:-1].repeat_interleave(2), times[-1:]])
    )
    scheduler.timesteps = torch.arange(len(scheduler.sigmas) - 1, dtype=torch.float32)

    def network(x: Tensor, t: Tensor, i: int) -> Tensor:
        time = scheduler.sigmas[i]
        return model.network(x, (2 * ((1 - time) / time).log()).expand(NUM))

    expected = followed(scheduler, images(model), network)
    torch.testing.assert_close(drawn(model, NUM, name, num_steps=8), expected, rtol=1e-3, atol=1e-3)
