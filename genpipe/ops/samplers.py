"""Diffusion samplers as tables: per network evaluation the eight numbers of sampler_step, computed in float64.

A solver is a function of the levels (α, σ) that it passes, noisy to clean, on any path: variance preserving or
exploding, or the straight one of flow matching (genpipe.ops.schedules). `plan` adds what the network predicts,
guidance and clipping; `sample` runs the plan.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from genpipe.ops.sampler_step import dynamic_threshold, sampler_step


class Level(NamedTuple):
    """x = alpha x₀ + sigma ε."""

    alpha: float
    sigma: float


class Row(NamedTuple):
    """x_next = x·x + x0·x̂₀ + history·h + noise·z, where the network sees x at `level`.

    keeps: what the next row calls its history h: this row's x̂₀, or its x.
    """

    level: int
    x: float
    x0: float
    history: float = 0.0
    noise: float = 0.0
    keeps: Literal["x", "x0"] | None = None


@dataclass(frozen=True, kw_only=True)
class Options:
    """eta: of `ddim`, 0 deterministic to 1 ancestral. variance_type: of `ddpm`, the posterior's variance or β."""

    eta: float = 0.0
    variance_type: Literal["fixed_small", "fixed_large"] = "fixed_small"


Solver = Callable[[Sequence[Level], Options], list[Row]]


def ddpm(levels: Sequence[Level], options: Options) -> list[Row]:
    """The mean of q(x_s | x_t, x̂₀) and its variance, or β (Ho et al., 2020, eq. 7 and sec. 3.2), on any path as in
    Kingma et al. (2021), appendix A.2; the last step adds no noise."""
    rows = []
    for i, (now, then) in enumerate(itertools.pairwise(levels)):
        ratio, variance = _between(now, then)
        share = (then.sigma / now.sigma) ** 2
        added = variance if options.variance_type == "fixed_large" else variance * share
        noise = math.sqrt(added) if then.sigma > 0 else 0.0
        rows.append(Row(i, ratio * share, then.alpha * variance / now.sigma**2, noise=noise))
    return rows


def ddim(levels: Sequence[Level], options: Options) -> list[Row]:
    """Song, Meng & Ermon (2021), eq. 12 and 16: `euler` at eta 0, `ddpm` with fixed_small at eta 1."""
    rows = []
    for i, (now, then) in enumerate(itertools.pairwise(levels)):
        _, variance = _between(now, then)
        noise = options.eta * math.sqrt(variance) * then.sigma / now.sigma
        e = math.sqrt(max(then.sigma**2 - noise**2, 0.0))  # the share of ε̂ = (x − α x̂₀)/σ
        rows.append(Row(i, e / now.sigma, then.alpha - e * now.alpha / now.sigma, noise=noise))
    return rows


def euler(levels: Sequence[Level], options: Options) -> list[Row]:
    """The probability flow's Euler step, the same in σ (Karras et al., 2022, algorithm 1 without its correction) and
    along the straight path: x̂₀ and ε̂ stay as they are, and x moves to the next level."""
    return ddim(levels, Options(eta=0.0))


def heun(levels: Sequence[Level], options: Options) -> list[Row]:
    """Heun's second-order step, Euler where it lands on clean data (Karras et al., 2022, algorithm 1).

    Two evaluations a step but the last, 2N − 1 in all. The trapezoid is taken where the flow is dx/dσ = (x − x̂₀)/σ: in
    x itself on the straight path and the variance-exploding one, in x/α on others.
    """
    straight = all(math.isclose(level.alpha + level.sigma, 1.0, abs_tol=1e-12) for level in levels)
    if not straight and levels[0].alpha == 0:
        raise ValueError("heun: x/α does not exist at level 0, where α is 0; begin later, or take another solver")
    rows = []
    for i, (now, then) in enumerate(itertools.pairwise(levels)):
        (predictor,) = euler([now, then], Options())
        if then.sigma == 0:
            rows.append(predictor._replace(level=i))
            continue
        scale_now, scale = (1.0, 1.0) if straight else (now.alpha, then.alpha)
        # Half of each slope: the first is (x' − x)/h, as x' came of it.
        half = 0.5 * (1 - (now.sigma / scale_now) / (then.sigma / scale))  # h / 2σ'
        rows.append(predictor._replace(level=i, keeps="x"))
        rows.append(Row(i + 1, 0.5 + half, -scale * half, history=0.5 * scale / scale_now))
    return rows


def dpmsolver(levels: Sequence[Level], options: Options) -> list[Row]:
    """DPM-Solver++(2M) (Lu et al., 2022, algorithm 2), of first order on its first step and onto clean data."""
    half_logs = [_half_log_snr(level) for level in levels]
    rows: list[Row] = []
    for i, (row, then) in enumerate(zip(euler(levels, options), levels[1:], strict=True)):
        second_order = i > 0 and then.sigma > 0
        last = half_logs[i] - half_logs[i - 1] if second_order else math.inf
        # x̂₀ extrapolated through the one before: 1/2r = h / 2 h_last.
        extra = (half_logs[i + 1] - half_logs[i]) / (2 * last) if second_order and math.isfinite(last) else 0.0
        keeps: Literal["x0"] | None = "x0" if i + 1 < len(levels) - 1 else None
        rows.append(row._replace(x0=row.x0 * (1 + extra), history=-row.x0 * extra, keeps=keeps))
    return rows


SOLVERS: dict[str, Solver] = {"ddpm": ddpm, "ddim": ddim, "dpmsolver++": dpmsolver, "euler": euler, "heun": heun}


def _between(now: Level, then: Level) -> tuple[float, float]:
    """α and σ² of x_t given x_s, t the noisier (Kingma et al., 2021, eq. 25): α_t/α_s and σ_t² − (α_t/α_s)² σ_s²."""
    ratio = now.alpha / then.alpha
    return ratio, max(now.sigma**2 - (ratio * then.sigma) ** 2, 0.0)


def _half_log_snr(level: Level) -> float:
    if level.alpha == 0:
        return -math.inf
    return math.log(level.alpha / level.sigma) if level.sigma > 0 else math.inf


def denoising(prediction_type: str, level: Level) -> tuple[float, float]:
    """u and w of x̂₀ = u x + w·prediction."""
    alpha, sigma = level
    match prediction_type:
        case "epsilon":
            if alpha == 0:
                raise ValueError("epsilon says nothing of x₀ where α is 0 (zero terminal SNR): predict v or x₀ there")
            return 1 / alpha, -sigma / alpha
        case "sample":
            return 0.0, 1.0
        case "v_prediction":
            return alpha / (alpha**2 + sigma**2), -sigma / (alpha**2 + sigma**2)
        case "velocity":
            return 1 / (alpha + sigma), -sigma / (alpha + sigma)
    raise ValueError(
        f"prediction_type is {prediction_type!r}, expected 'epsilon', 'sample', 'v_prediction' or 'velocity'"
    )


class Stage(NamedTuple):
    """A network evaluation and the step after it. level: index of the level that the network sees x at; coefficients:
    float64 (8,), of sampler_step; noisy: whether it adds noise; keeps: as in Row."""

    level: int
    coefficients: Tensor
    noisy: bool
    keeps: Literal["x", "x0"] | None


def plan(
    solver: str,
    levels: Tensor,
    prediction_type: str,
    *,
    guidance_scale: float = 1.0,
    clip: float | None = None,
    eta: float = 0.0,
    variance_type: Literal["fixed_small", "fixed_large"] = "fixed_small",
) -> list[Stage]:
    """The stages of a run over the levels, (N + 1, 2) of α and σ, noisy to clean.

    solver: a name in SOLVERS; guidance_scale: 1 for the conditional prediction alone; clip: the limit of |x̂₀|, none
    where None; eta, variance_type: see Options. ValueError names what is wrong.
    """
    if solver not in SOLVERS:
        raise ValueError(f"solver is {solver!r}, expected one of {', '.join(SOLVERS)}")
    if not 0 <= eta <= 1:
        raise ValueError(f"eta is {eta}, expected 0 … 1")
    path = _checked(levels)
    limit = math.inf if clip is None else clip
    stages = []
    for row in SOLVERS[solver](path, Options(eta=eta, variance_type=variance_type)):
        u, w = denoising(prediction_type, path[row.level])
        numbers = (u, w, row.x, row.x0, row.history, row.noise, guidance_scale, limit)
        stages.append(Stage(row.level, torch.tensor(numbers, dtype=torch.float64), row.noise != 0, row.keeps))
    return stages


def _checked(levels: Tensor) -> list[Level]:
    if levels.dim() != 2 or levels.shape[1] != 2 or len(levels) < 2:
        raise ValueError(f"levels must have shape (N + 1, 2) with N at least 1, got {tuple(levels.shape)}")
    path = [Level(alpha, sigma) for alpha, sigma in levels.double().tolist()]
    for i, level in enumerate(path):
        if not (0 <= level.alpha < math.inf and 0 <= level.sigma < math.inf and level.alpha + level.sigma > 0):
            raise ValueError(f"levels[{i}] is {tuple(level)}, expected a finite α and a finite σ of at least 0")
        if i > 0 and not level.sigma * path[i - 1].alpha < path[i - 1].sigma * level.alpha:
            raise ValueError(f"levels[{i}] is no less noisy than levels[{i - 1}]: σ/α must fall")
    return path


Predict = Callable[[Tensor, int], Tensor | tuple[Tensor, Tensor]]


def sample(
    stages: Sequence[Stage],
    x: Tensor,
    predict: Predict,
    *,
    key: Callable[[int], Tensor] | None = None,
    first_index: int = 0,
    threshold_ratio: float | None = None,
) -> Tensor:
    """x (B, *event), of the first level, taken to the last one; x itself is left as it is.

    predict(x, level): the network's output, as x, or with guidance the conditional and the unconditional one; key(level):
    the key of the noise that is added there; threshold_ratio: dynamic thresholding at this quantile, none where None.
    """
    x, history, spare = x.clone(memory_format=torch.contiguous_format), None, None
    for stage in stages:
        predicted = predict(x, stage.level)
        prediction, unconditional = predicted if isinstance(predicted, tuple) else (predicted, None)
        threshold = None
        if threshold_ratio is not None:
            threshold = dynamic_threshold(
                x, prediction, stage.coefficients, unconditional=unconditional, ratio=threshold_ratio
            )
        if stage.noisy and key is None:
            raise ValueError("these stages add noise: sample needs a key")
        out, x0_out = x, None
        if stage.keeps == "x":
            out = torch.empty_like(x) if spare is None else spare
        elif stage.keeps == "x0":
            x0_out = torch.empty_like(x) if history is None else history
        sampler_step(
            x,
            prediction,
            stage.coefficients,
            unconditional=unconditional,
            history=history,
            threshold=threshold,
            key=key(stage.level) if stage.noisy and key is not None else None,
            first_index=first_index,
            out=out,
            x0_out=x0_out,
        )
        if stage.keeps == "x":
            x, history, spare = out, x, None
        elif stage.keeps == "x0":
            history = x0_out
        else:
            history, spare = None, history
    return x
