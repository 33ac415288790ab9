"""Samplers against closed answers for Gaussian data and against diffusers' schedulers, step by step."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from genpipe import ops
from genpipe.ops import samplers, schedules
from tests.ops.cases import randn

VARIANCE = 0.25  # of the data, N(0, VARIANCE I)
ALPHA_BAR = schedules.alpha_bar("linear", 1000)
PREDICTION_TYPES = ["epsilon", "sample", "v_prediction"]


def ideal(levels: Tensor, prediction_type: str = "sample") -> samplers.Predict:
    """What the best network predicts of x: E[x₀ | x] is VARIANCE α x / (α² VARIANCE + σ²)."""

    def predict(x: Tensor, i: int) -> Tensor:
        alpha, sigma = levels[i].tolist()
        x0 = VARIANCE * alpha * x / (alpha**2 * VARIANCE + sigma**2)
        e = sigma * x / (alpha**2 * VARIANCE + sigma**2)
        return {"sample": x0, "epsilon": e, "v_prediction": alpha * e - sigma * x0, "velocity": e - x0}[prediction_type]

    return predict


def spread(level: Tensor) -> float:
    """The standard deviation of x at a level; the probability flow scales x by its ratio."""
    alpha, sigma = level.tolist()
    return math.sqrt(alpha**2 * VARIANCE + sigma**2)


def relative_error(solver: str, levels: Tensor, prediction_type: str = "sample") -> float:
    x = randn(4, 3, dtype=torch.float64) * spread(levels[0])
    end = samplers.sample(samplers.plan(solver, levels, prediction_type), x, ideal(levels, prediction_type))
    exact = x * spread(levels[-1]) / spread(levels[0])
    return float((end - exact).norm() / exact.norm())


PUBLISHED = {  # on the EDM grid of 10, 18, 36 and 72 steps
    "euler": [0.2696, 0.1539, 0.0780, 0.0392],
    "heun": [0.2196, 0.0553, 0.0122, 0.0029],
    "dpmsolver++": [0.1588, 0.0623, 0.0131, 0.0030],
}


@pytest.mark.parametrize("solver", PUBLISHED)
def test_errors_on_the_edm_grid_are_the_known_ones(solver):
    grids = [schedules.variance_exploding(schedules.karras_sigmas(n)) for n in (10, 18, 36, 72)]
    assert [round(relative_error(solver, grid), 4) for grid in grids] == PUBLISHED[solver]


@pytest.mark.parametrize(("solver", "order"), [("ddim", 1), ("euler", 1), ("heun", 2), ("dpmsolver++", 2)])
@pytest.mark.parametrize("path", ["flow", "preserving"])
def test_solvers_converge_at_their_order_on_every_path(path, solver, order):
    def levels(num_steps):
        if path == "flow":
            return schedules.flow(torch.linspace(0.999, 0.02, num_steps + 1))
        return schedules.variance_preserving(torch.linspace(0.02, 0.99, num_steps + 1, dtype=torch.float64))

    errors = [relative_error(solver, levels(n), "velocity" if path == "flow" else "epsilon") for n in (40, 80, 160)]
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.35)


def test_heun_evaluates_twice_on_all_steps_but_the_last():
    levels = schedules.variance_exploding(schedules.karras_sigmas(18))
    assert len(samplers.plan("heun", levels, "sample")) == 2 * 18 - 1


@pytest.mark.parametrize("solver", samplers.SOLVERS)
@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction", "velocity"])
def test_what_is_predicted_does_not_matter(prediction_type, solver):
    levels = schedules.descent(ALPHA_BAR, schedules.timesteps(1000, 12))
    x = randn(3, 5, dtype=torch.float64)
    ends = [
        samplers.sample(
            samplers.plan(solver, levels, p, eta=0.5), x, ideal(levels, p), key=lambda i: ops.key(0, i), first_index=7
        )
        for p in ("sample", prediction_type)
    ]
    torch.testing.assert_close(*ends)


@pytest.mark.parametrize("solver", samplers.SOLVERS)
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_last_step_lands_on_the_denoised_and_adds_no_noise(solver, eta):
    for variance_type in ("fixed_small", "fixed_large"):
        levels = schedules.descent(ALPHA_BAR, schedules.timesteps(1000, 5))
        last = samplers.plan(solver, levels, "sample", eta=eta, variance_type=variance_type)[-1]
        assert not last.noisy
        assert last.coefficients[:6].tolist() == [0, 1, 0, 1, 0, 0]


def test_ddim_at_eta_one_is_ddpm():
    levels = schedules.descent(ALPHA_BAR, schedules.timesteps(1000, 20))
    ddim, ddpm = (samplers.plan(name, levels, "epsilon", eta=1.0) for name in ("ddim", "ddpm"))
    for a, b in zip(ddim, ddpm, strict=True):
        torch.testing.assert_close(a.coefficients, b.coefficients)


def test_a_ddpm_step_is_the_posterior_of_the_forward_process():
    """Against Bayes' rule for q(x_s | x_t, x₀) on scalars, by completing the square."""
    a_t, a_s = 0.3, 0.55
    alpha = a_t / a_s
    levels = schedules.variance_preserving(torch.tensor([a_t, a_s, 1.0]))
    step = samplers.ddpm([samplers.Level(*level) for level in levels.tolist()], samplers.Options())[0]
    precision = alpha / (1 - alpha) + 1 / (1 - a_s)
    assert step.x == pytest.approx(math.sqrt(alpha) / (1 - alpha) / precision)
    assert step.x0 == pytest.approx(math.sqrt(a_s) / (1 - a_s) / precision)
    assert step.noise == pytest.approx(1 / math.sqrt(precision))


@pytest.mark.parametrize(("solver", "eta"), [("ddpm", 0.0), ("ddim", 0.5), ("ddim", 1.0)])
def test_samplers_that_add_noise_keep_the_data_s_spread(solver, eta):
    levels = schedules.descent(ALPHA_BAR, schedules.timesteps(1000, 500))
    x = ops.normal(ops.key(0, "start"), (4000, 2))
    stages = samplers.plan(solver, levels, "v_prediction", eta=eta)
    end = samplers.sample(stages, x, ideal(levels, "v_prediction"), key=lambda i: ops.key(0, i))
    assert float(end.var()) == pytest.approx(VARIANCE, rel=0.05)
    assert float(end.mean()) == pytest.approx(0, abs=0.03)


def test_zero_terminal_snr_begins_with_noise_alone():
    levels = schedules.descent(schedules.zero_terminal_snr(ALPHA_BAR), schedules.timesteps(1000, 400))
    assert levels[0].tolist() == [0, 1]
    for solver in ("ddpm", "ddim", "dpmsolver++"):
        stages = samplers.plan(solver, levels, "v_prediction")
        x = ops.normal(ops.key(0, "start"), (3000, 2))
        end = samplers.sample(stages, x, ideal(levels, "v_prediction"), key=lambda i: ops.key(0, i))
        assert float(end.var()) == pytest.approx(VARIANCE, rel=0.08)


def test_guidance_moves_along_the_difference_of_the_predictions():
    levels = schedules.descent(ALPHA_BAR, schedules.timesteps(1000, 6))
    x = randn(3, 5, dtype=torch.float64)
    predict = ideal(levels)
    guided = samplers.sample(
        samplers.plan("ddim", levels, "sample", guidance_scale=3.0),
        x,
        lambda x, i: (predict(x, i) + 0.1, predict(x, i)),
    )
    direct = samplers.sample(samplers.plan("ddim", levels, "sample"), x, lambda x, i: predict(x, i) + 0.3)
    torch.testing.assert_close(guided, direct)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda levels: samplers.plan("plms", levels, "epsilon"), "solver is 'plms', expected one of ddpm, ddim"),
        (lambda levels: samplers.plan("ddim", levels, "x0"), "prediction_type is 'x0', expected 'epsilon'"),
        (lambda levels: samplers.plan("ddim", levels, "sample", eta=1.5), "eta is 1.5, expected 0 … 1"),
        (lambda levels: samplers.plan("ddim", levels[:1], "sample"), r"levels must have shape \(N \+ 1, 2\)"),
        (lambda levels: samplers.plan("ddim", levels.flip(0), "sample"), r"levels\[1\] is no less noisy than levels"),
        (lambda levels: samplers.plan("ddim", levels * torch.nan, "sample"), r"levels\[0\] is \(nan, nan\), expected"),
        (lambda levels: samplers.plan("ddim", levels, "epsilon"), "epsilon says nothing of x₀ where α is 0"),
        (lambda levels: samplers.plan("heun", levels * 2, "sample"), "heun: x/α does not exist at level 0"),
        (
            lambda levels: samplers.sample(samplers.plan("ddpm", levels, "sample"), torch.zeros(2, 2), lambda x, i: x),
            "these stages add noise: sample needs a key",
        ),
    ],
)
def test_mistakes_are_named(call, says):
    with pytest.raises(ValueError, match=says):
        call(schedules.flow(schedules.flow_times(4)))


# -- diffusers ----------------------------------------------------------------------------------------------------


# diffusers hands torch's tensors to numpy.
NUMPY_COPIES = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def scheduler(name: str, num_steps: int, **options):
    diffusers = pytest.importorskip("diffusers")
    made = getattr(diffusers, name)(**options)
    if hasattr(made, "alphas_cumprod"):
        made.alphas_cumprod = ALPHA_BAR.clone()
    made.set_timesteps(num_steps)
    return made


def same_path(theirs, stages, levels, step=None, tolerance=1e-9, seed=0):
    """Both take the same predictions, as wild as noise, from the same x, and go on from their own results."""
    x = randn(2, 3, 7, 5, dtype=torch.float64, seed=seed) * max(float(levels[0, 1]), 1.0)
    predictions = [randn(2, 3, 7, 5, dtype=torch.float64, seed=50 + i) for i in range(len(stages))]
    left = iter(predictions)
    ours = samplers.sample(stages, x, lambda x, i: next(left), key=lambda i: ops.key(0, i))
    for prediction, t in zip(predictions, theirs.timesteps, strict=True):
        x = (step or theirs.step)(prediction, t, x).prev_sample
    torch.testing.assert_close(ours, x, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_ddim_is_diffusers(eta, prediction_type, clip):
    theirs = scheduler(
        "DDIMScheduler", 10, prediction_type=prediction_type, clip_sample=clip is not None, timestep_spacing="leading"
    )
    theirs.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    levels = schedules.descent(ALPHA_BAR, theirs.timesteps.tolist())
    stages = samplers.plan("ddim", levels, prediction_type, clip=clip, eta=eta)
    noises = iter(ops.normal(ops.key(0, s.level), (2, 3, 7, 5), dtype=torch.float64) for s in stages)

    def step(prediction, t, x):
        return theirs.step(
            prediction, t, x, eta=eta, use_clipped_model_output=True, variance_noise=next(noises) if eta else None
        )

    # Their last step keeps the variance of t = 0, which is 0.
    same_path(theirs, stages, levels, step) if eta == 0 else same_path_but_last(theirs, stages, levels, step)


def same_path_but_last(theirs, stages, levels, step):
    x = randn(2, 3, 7, 5, dtype=torch.float64)
    prediction = randn(2, 3, 7, 5, dtype=torch.float64, seed=1)
    for stage, t in list(zip(stages, theirs.timesteps, strict=True))[:-1]:
        ours = ops.sampler_step(x, prediction, stage.coefficients, key=ops.key(0, stage.level))
        torch.testing.assert_close(ours, step(prediction, t, x).prev_sample, rtol=1e-9, atol=1e-9)
        x = ours


@pytest.mark.parametrize("variance_type", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_ddpm_is_diffusers(prediction_type, variance_type):
    theirs = scheduler(
        "DDPMScheduler", 10, prediction_type=prediction_type, variance_type=variance_type, clip_sample=True
    )
    theirs.one = torch.tensor(1.0, dtype=torch.float64)
    levels = schedules.descent(ALPHA_BAR, theirs.timesteps.tolist())
    stages = samplers.plan("ddpm", levels, prediction_type, clip=1.0, variance_type=variance_type)
    x, prediction = (randn(2, 3, 7, 5, dtype=torch.float64, seed=i) for i in range(2))
    for stage, t in zip(stages, theirs.timesteps, strict=True):
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        ours = ops.sampler_step(x, prediction, stage.coefficients, noise=noise)
        expected = theirs.step(prediction, t, x, generator=torch.Generator().manual_seed(3)).prev_sample
        torch.testing.assert_close(ours, expected, rtol=1e-8, atol=1e-8)
        x = ours


@NUMPY_COPIES
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_dpmsolver_is_diffusers(prediction_type):
    theirs = scheduler("DPMSolverMultistepScheduler", 20, prediction_type=prediction_type, timestep_spacing="trailing")
    sigmas = theirs.sigmas.double()  # float32, in σ/α
    alpha = (1 + sigmas.square()).rsqrt()
    levels = torch.stack([alpha, sigmas * alpha], dim=1)
    # Their σ are float32, and x₀ from ε divides by an α of 0.006.
    tolerance = 1e-3 if prediction_type == "epsilon" else 2e-5
    same_path(theirs, samplers.plan("dpmsolver++", levels, prediction_type), levels, tolerance=tolerance)


@NUMPY_COPIES
@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_edm_steps_are_diffusers(solver):
    theirs = scheduler(
        {"euler": "EulerDiscreteScheduler", "heun": "HeunDiscreteScheduler"}[solver], 12, use_karras_sigmas=True
    )
    sigmas = theirs.sigmas.double()
    if solver == "heun":
        sigmas = torch.cat([sigmas[:1], sigmas[1:-1:2], sigmas[-1:]])
    levels = schedules.variance_exploding(sigmas)
    same_path(theirs, samplers.plan(solver, levels, "epsilon"), levels, tolerance=1e-4)


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_flow_matching_steps_are_diffusers(solver):
    name = {"euler": "FlowMatchEulerDiscreteScheduler", "heun": "FlowMatchHeunDiscreteScheduler"}[solver]
    theirs = scheduler(name, 12, shift=3.0)
    sigmas = theirs.sigmas.double()
    if solver == "heun":
        sigmas = torch.cat([sigmas[:1], sigmas[1:-1:2], sigmas[-1:]])
    levels = schedules.flow(sigmas)
    same_path(theirs, samplers.plan(solver, levels, "velocity"), levels, tolerance=1e-4)


def test_dynamic_thresholding_is_diffusers():
    theirs = scheduler(
        "DDIMScheduler",
        10,
        thresholding=True,
        dynamic_thresholding_ratio=0.9,
        sample_max_value=100.0,
        clip_sample=False,
    )
    levels = schedules.descent(ALPHA_BAR, theirs.timesteps.tolist())
    stage, t = samplers.plan("ddim", levels, "epsilon", clip=1.0)[3], theirs.timesteps[3]
    x, prediction = (randn(2, 3, 7, 5, dtype=torch.float64, seed=i) for i in range(2))
    threshold = ops.dynamic_threshold(3 * x, prediction, stage.coefficients, ratio=0.9)
    ours = ops.sampler_step(3 * x, prediction, stage.coefficients, threshold=threshold)
    expected = theirs.step(prediction, t, 3 * x, use_clipped_model_output=True).prev_sample
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)
