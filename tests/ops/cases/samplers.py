"""Steps of diffusion samplers."""

from __future__ import annotations

import math

import torch

from genpipe import ops
from tests.ops.cases import Case, Draw, randn

KEY = ops.key(0, 0)
X, E = randn(3, 4), randn(3, 4, seed=1)
FULL = torch.tensor([0.7, -0.6, 0.4, 0.5, 0.3, 0.2, 2.5, 1.0], dtype=torch.float64)
PLAIN = torch.tensor([0.7, -0.6, 0.4, 0.5, 0.0, 0.0, 1.0, math.inf], dtype=torch.float64)


def changed(at: int, value: float, of: torch.Tensor = PLAIN) -> torch.Tensor:
    return of.index_fill(0, torch.tensor(at), value)


def everything(draw: Draw, *, given: bool):
    x, prediction, unconditional, history, noise = (draw.normal(draw.rows, draw.columns) for _ in range(5))
    threshold = draw.normal(draw.rows, dtype=draw.compute_dtype).abs() + 1
    source = (noise, None, 0) if given else (None, KEY, 7)
    return x, prediction, FULL.to(draw.device), unconditional, history, threshold, *source


def bare(draw: Draw):
    return draw.normal(draw.rows, draw.columns), draw.normal(draw.rows, draw.columns), PLAIN, *[None] * 5, 0


def in_place(draw: Draw):
    arguments = everything(draw, given=False)
    return *arguments, torch.zeros_like(arguments[0]), torch.zeros_like(arguments[0])


CASES = [
    Case("sampler_step", bare, "nothing but a prediction"),
    Case("sampler_step", lambda draw: everything(draw, given=True), "everything, noise given"),
    Case("sampler_step", lambda draw: everything(draw, given=False), "everything, noise generated"),
    Case("sampler_step_out", in_place),
    Case("dynamic_threshold", lambda draw: (*everything(draw, given=True)[:4], 0.9, math.inf)),
]


def step(coefficients=PLAIN, prediction=E, **options):
    return ops.sampler_step(X, prediction, coefficients, **options)


MISTAKES = {
    "sampler_step: prediction must have the shape of x (3, 4), got (3, 2)": lambda: step(prediction=E[:, :2]),
    "sampler_step: prediction must have the dtype of x (float32), got bfloat16": lambda: step(prediction=E.bfloat16()),
    "sampler_step: coefficients must be float64, got float32": lambda: step(PLAIN.float()),
    "sampler_step: coefficients must have shape (8,), as ops.samplers gives, got (7,)": lambda: step(PLAIN[:7]),
    "sampler_step: coefficients[3], x0, must be finite, got nan": lambda: step(changed(3, math.nan)),
    "sampler_step: coefficients[7], clip, must be positive, got 0": lambda: step(changed(7, 0.0)),
    "sampler_step: unconditional must be given for guidance_scale 3": lambda: step(changed(6, 3.0)),
    "sampler_step: unconditional must have the shape of x": lambda: step(unconditional=E[:2]),
    "sampler_step: history must be given for coefficients[4], history, of 0.5": lambda: step(changed(4, 0.5)),
    "sampler_step: noise or key must be given for coefficients[5], noise, of 0.5": lambda: step(changed(5, 0.5)),
    "sampler_step: give noise or key, not both": lambda: step(noise=E, key=KEY),
    "sampler_step: key must be int64 of shape (2,)": lambda: step(key=KEY[:1]),
    "sampler_step: first_index must not be negative, got -1": lambda: step(key=KEY, first_index=-1),
    "sampler_step: threshold must have shape (B,) with B = 3, got (4,)": lambda: step(changed(7, 1.0), threshold=E[0]),
    "sampler_step: threshold needs a finite clip, coefficients[7], got inf": lambda: step(threshold=E[:, 0]),
    "sampler_step: out must have the shape of x": lambda: step(out=torch.empty(2, 4)),
    "sampler_step: out must be contiguous": lambda: step(out=torch.empty(4, 3).t()),
    "sampler_step: x0_out must have the dtype of x": lambda: step(x0_out=torch.empty(3, 4).double()),
    "sampler_step: takes no gradient, but one of its tensors requires it": lambda: step(
        prediction=E.clone().requires_grad_()
    ),
    "dynamic_threshold: a finite clip, coefficients[7], must be given, got inf": lambda: ops.dynamic_threshold(
        X, E, PLAIN
    ),
    "dynamic_threshold: ratio must be in [0, 1], got 1.5": lambda: ops.dynamic_threshold(
        X, E, changed(7, 1.0), ratio=1.5
    ),
    "dynamic_threshold: maximum must be positive, got -1": lambda: ops.dynamic_threshold(
        X, E, changed(7, 1.0), maximum=-1
    ),
    "dynamic_threshold: x must have elements in each sample, got shape (3, 0)": lambda: ops.dynamic_threshold(
        X[:, :0], E[:, :0], changed(7, 1.0)
    ),
}
