"""Noise schedules against their papers' formulas and diffusers, and the weights made of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from genpipe.ops import loss_weights, schedules


def diffusers_scheduler(name: str, **options):
    diffusers = pytest.importorskip("diffusers")
    return getattr(diffusers, name)(**options)


def closed(values, expected, tolerance=1e-12):
    np.testing.assert_allclose(values.numpy(), expected, rtol=tolerance)


def test_every_schedule_is_falling_and_in_float64():
    for name in schedules.BETAS:
        for num_timesteps in (1000, 37):
            alpha_bar = schedules.alpha_bar(name, num_timesteps)
            assert alpha_bar.dtype == torch.float64
            assert alpha_bar.shape == (num_timesteps,)
            assert (alpha_bar.diff() < 0).all()
            assert 0 < float(alpha_bar[-1]) < float(alpha_bar[0]) < 1


def test_schedules_are_those_of_their_papers():
    closed(schedules.alpha_bar("linear", 1000), np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)))
    closed(schedules.scaled_linear(1000), np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    t = np.arange(1, 1001) / 1000
    expected = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    cosine = schedules.alpha_bar("squaredcos_cap_v2", 1000)
    closed(cosine[:-1], expected[:-1], 1e-9)
    assert float(1 - cosine[-1] / cosine[-2]) == pytest.approx(0.999)


def test_other_numbers_of_steps_end_in_about_as_much_noise():
    for name in schedules.BETAS:
        ends = [float(schedules.log_snr(schedules.alpha_bar(name, n))[-1]) for n in (1000, 500)]
        assert abs(ends[0] - ends[1]) < 2


@pytest.mark.parametrize("name", schedules.BETAS)
def test_schedules_are_diffusers(name):
    scheduler = diffusers_scheduler("DDPMScheduler", beta_schedule=name, beta_end=0.02 if name != "scaled_linear" else 0.012, beta_start=1e-4 if name != "scaled_linear" else 0.00085)  # fmt: skip
    closed(schedules.alpha_bar(name, 1000), scheduler.alphas_cumprod.double().numpy(), 2e-3)
    closed(schedules.BETAS[name](1000), scheduler.betas.double().numpy(), 2e-3)


def test_zero_terminal_snr_is_diffusers_and_ends_in_noise_alone():
    alpha_bar = schedules.alpha_bar("scaled_linear", 1000)
    rescaled = schedules.zero_terminal_snr(alpha_bar)
    assert float(rescaled[-1]) == 0
    assert float(rescaled[0]) == pytest.approx(float(alpha_bar[0]), rel=1e-14)
    assert (rescaled.diff() < 0).all()
    module = pytest.importorskip("diffusers.schedulers.scheduling_ddim")
    theirs = (1 - module.rescale_zero_terminal_snr(schedules.scaled_linear(1000))).cumprod(0)
    torch.testing.assert_close(rescaled, theirs, rtol=1e-9, atol=1e-15)


def test_log_snr_keeps_its_digits_where_alpha_bar_is_near_one():
    alpha_bar = torch.tensor([1 - 1e-12, 0.5, 1e-12], dtype=torch.float64)
    expected = torch.tensor([math.log(1e12), 0.0, -math.log(1e12)], dtype=torch.float64)
    torch.testing.assert_close(schedules.log_snr(alpha_bar), expected, rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("num_steps", [1, 7, 30, 1000])
def test_trailing_timesteps_end_the_process(num_steps):
    steps = schedules.timesteps(1000, num_steps)
    assert len(set(steps)) == num_steps
    assert steps[0] == 999
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] >= 0
    assert schedules.timesteps(1000, 1000) == list(range(999, -1, -1))


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_spacings_are_diffusers(spacing):
    for num_steps, offset in itertools.product((1, 2, 3, 10, 27, 50, 999, 1000), (0, 1)):
        if spacing == "leading" and (num_steps - 1) * (1000 // num_steps) + offset > 999:
            continue
        scheduler = diffusers_scheduler("DDIMScheduler", timestep_spacing=spacing, steps_offset=offset)
        scheduler.set_timesteps(num_steps)
        expected = scheduler.timesteps.tolist()
        assert schedules.timesteps(1000, num_steps, spacing, offset) == expected, num_steps


def test_karras_sigmas_are_the_papers_and_diffusers():
    sigmas = schedules.karras_sigmas(18)
    assert sigmas.shape == (19,)
    assert float(sigmas[0]) == pytest.approx(80)
    assert float(sigmas[-2]) == pytest.approx(0.002)
    assert float(sigmas[-1]) == 0
    i = np.arange(18) / 17
    closed(sigmas[:-1], (80 ** (1 / 7) + i * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7)
    scheduler = diffusers_scheduler("EDMEulerScheduler")
    scheduler.set_timesteps(18)
    closed(sigmas, scheduler.sigmas.double().numpy(), 1e-5)


def test_flow_times_are_straight_and_diffusers_when_shifted():
    closed(schedules.flow_times(4), [1, 0.75, 0.5, 0.25, 0])
    scheduler = diffusers_scheduler("FlowMatchEulerDiscreteScheduler", shift=3.0)
    sigmas = np.linspace(1, 0, 11)[:-1]
    scheduler.set_timesteps(sigmas=sigmas)
    closed(schedules.flow_times(10, shift=3.0), scheduler.sigmas.double().numpy(), 1e-6)


def test_levels_hold_what_their_paths_promise():
    preserving = schedules.variance_preserving(schedules.alpha_bar("linear", 100))
    torch.testing.assert_close(preserving.square().sum(1), torch.ones(100, dtype=torch.float64))
    assert (schedules.variance_exploding(schedules.karras_sigmas(5))[:, 0] == 1).all()
    assert (schedules.flow(schedules.flow_times(5)).sum(1) == 1).all()
    alpha_bar = schedules.alpha_bar("linear", 1000)
    levels = schedules.descent(alpha_bar, [999, 499])
    assert levels[-1].tolist() == [1, 0]
    torch.testing.assert_close(levels[:-1, 0].square(), alpha_bar[[999, 499]])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: schedules.alpha_bar("cosine", 10), "schedule 'cosine': expected one of linear, scaled_linear"),
        (lambda: schedules.timesteps(1000, 0), "num_steps is 0, expected 1 … 1000"),
        (lambda: schedules.timesteps(1000, 1001), "num_steps is 1001"),
        (lambda: schedules.timesteps(1000, 10, "even"), "spacing is 'even', expected 'trailing'"),
        (lambda: schedules.timesteps(1000, 10, "leading", 100), "steps_offset is 100"),
        (lambda: schedules.karras_sigmas(10, sigma_min=0.0), "sigma_min is 0.0"),
        (lambda: loss_weights.min_snr(torch.ones(3, 2), "x0"), "prediction_type is 'x0', expected 'epsilon'"),
    ],
)
def test_mistakes_are_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_min_snr_weighs_the_error_of_x0_alike_for_every_prediction():
    alpha_bar = schedules.zero_terminal_snr(schedules.alpha_bar("linear", 1000))
    levels = schedules.variance_preserving(alpha_bar)
    snr = alpha_bar / (1 - alpha_bar)
    capped = snr.clamp(max=5)
    torch.testing.assert_close(loss_weights.min_snr(levels, "sample"), capped)
    torch.testing.assert_close(loss_weights.min_snr(levels, "v_prediction"), capped / (snr + 1))
    epsilon = loss_weights.min_snr(levels, "epsilon")
    torch.testing.assert_close(epsilon[:-1], (capped / snr)[:-1])
    assert float(epsilon[-1]) == 1
    flow = schedules.flow(torch.linspace(0.01, 1, 50))
    alpha, sigma = flow.unbind(1)
    # x − σ v = x₀ on the straight path: an error e of v is one of σ e of x₀.
    torch.testing.assert_close(
        loss_weights.min_snr(flow, "velocity"), (alpha / sigma).square().clamp(max=5) * sigma.square()
    )


def test_edm_weighs_every_level_of_the_network_s_own_error_alike():
    sigmas = schedules.karras_sigmas(9)[:-1]
    c_out = sigmas * 0.5 / (sigmas.square() + 0.25).sqrt()
    torch.testing.assert_close(loss_weights.edm(sigmas) * c_out.square(), torch.ones(9, dtype=torch.float64))
