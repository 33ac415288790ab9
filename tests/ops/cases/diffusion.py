"""Diffusion's forward process and its loss."""

from __future__ import annotations

import torch

from genpipe import ops
from tests.ops.cases import Case, Draw, randn

KEY = ops.key(0, 0)
X, T, TABLE = randn(3, 4), torch.tensor([0, 1, 2]), torch.linspace(0.9, 0.1, 5, dtype=torch.float64)
PAIRS = torch.stack([1 - TABLE, TABLE], dim=1)
BROKEN = torch.tensor([0.9, torch.nan, 1.5, -0.1], dtype=torch.float64)
WEIGHTS = torch.tensor([1.0, torch.inf, 1.0, 1.0, 1.0])


def steps(draw: Draw, schedule=TABLE):
    return draw.levels(5, draw.rows), schedule.to(draw.device)


def source(draw: Draw, *, given: bool, leaf: bool = True):
    make = draw.leaf if leaf else draw.normal
    noise = make(draw.rows, draw.columns) if given else None
    return noise, None if given else KEY, 0 if given else 7


def noised(draw: Draw, *, given: bool, schedule=TABLE):
    return draw.leaf(draw.rows, draw.columns), *steps(draw, schedule), *source(draw, given=given)


def into(draw: Draw):
    x0 = draw.normal(draw.rows, draw.columns)
    return x0, *steps(draw), None, KEY, 7, torch.zeros_like(x0)


def own_levels(draw: Draw):
    schedule = PAIRS[: draw.rows].to(draw.device)
    return draw.leaf(draw.rows, draw.columns), None, schedule, None, KEY, 7


def compared(draw: Draw, *, given: bool, leaf: bool = True):
    prediction = (draw.leaf if leaf else draw.normal)(draw.rows, draw.columns)
    weights = draw.normal(5, dtype=torch.float64)
    x0 = draw.normal(draw.rows, draw.columns)
    return prediction, x0, *steps(draw), weights, *source(draw, given=given, leaf=False), "v_prediction"


CASES = [
    Case("q_sample", lambda draw: noised(draw, given=True), "noise given"),
    Case("q_sample", lambda draw: noised(draw, given=False), "noise generated"),
    Case("q_sample", own_levels, "a level for each sample"),
    *(
        Case("q_sample_with_target", lambda draw, p=p, g=g: (*noised(draw, given=g, schedule=PAIRS), p), p)
        for p, g in (("epsilon", False), ("sample", False), ("v_prediction", False), ("velocity", True))
    ),
    Case("q_sample_out", into),
    Case("diffusion_loss", lambda draw: compared(draw, given=True), "noise given"),
    Case("diffusion_loss", lambda draw: compared(draw, given=False), "noise generated"),
    Case("diffusion_loss_with_slope", lambda draw: compared(draw, given=False, leaf=False)),
    Case(
        "diffusion_loss_backward",
        lambda draw: (draw.normal(draw.rows, dtype=draw.compute_dtype), *compared(draw, given=False, leaf=False)),
    ),
]


def loss(**options):
    arguments = {"prediction": X, "x0": X, "t": T, "schedule": TABLE, "key": KEY} | options
    return ops.diffusion_loss(**arguments)


MISTAKES = {
    "q_sample: give exactly one of noise and key": lambda: ops.q_sample(X, T, TABLE),
    "q_sample: give exactly one of noise and key ": lambda: ops.q_sample(X, T, TABLE, noise=X, key=KEY),
    "q_sample: x0 must be float32, float64 or bfloat16, got float16": lambda: ops.q_sample(X.half(), T, TABLE, key=KEY),
    "q_sample: x0 must have a batch dimension": lambda: ops.q_sample(X[0, 0], T, TABLE, key=KEY),
    "q_sample: t must be int64, got int32": lambda: ops.q_sample(X, T.int(), TABLE, key=KEY),
    "q_sample: t must have shape (B,) with x0's B = 3, got (2,)": lambda: ops.q_sample(X, T[:2], TABLE, key=KEY),
    "q_sample: t[1] = 5 is outside of the schedule's levels, 0 to 4": lambda: ops.q_sample(
        X, torch.tensor([0, 5, 0]), TABLE, key=KEY
    ),
    "q_sample: t[2] = -1 is outside of the schedule's levels, 0 to 4": lambda: ops.q_sample(
        X, torch.tensor([0, 4, -1]), TABLE, key=KEY
    ),
    "q_sample: schedule must be float64 or float32, got int64": lambda: ops.q_sample(X, T, TABLE.long(), key=KEY),
    "q_sample: schedule must have shape (T,), of alpha_bar, or (T, 2), of alpha and sigma, got (1, 5)": lambda: (
        ops.q_sample(X, T, TABLE[None], key=KEY)
    ),
    "q_sample: schedule must have a level for each of x0's 3 samples where t is not given, got 5": lambda: ops.q_sample(
        X, None, TABLE, key=KEY
    ),
    "q_sample: schedule[1] = nan is not an alpha_bar, which lies in [0, 1]": lambda: ops.q_sample(
        X, T, BROKEN, key=KEY
    ),
    "q_sample: schedule[2] = 1.5 is not an alpha_bar": lambda: ops.q_sample(X, T * 2, BROKEN.float(), key=KEY),
    "q_sample: schedule[3] = -0.1 is not an alpha_bar": lambda: ops.q_sample(X, T * 0 + 3, BROKEN, key=KEY),
    "q_sample: schedule[0] = (1, -1) is not a finite alpha and a finite sigma of at least 0": lambda: ops.q_sample(
        X, None, torch.tensor([[1.0, -1.0]] * 3), key=KEY
    ),
    "q_sample: noise must have the shape of x0 (3, 4), got (3, 3)": lambda: ops.q_sample(X, T, TABLE, noise=X[:, 1:]),
    "q_sample: noise must have the dtype of x0 (float32), got float64": lambda: ops.q_sample(
        X, T, TABLE, noise=X.double()
    ),
    "q_sample: out must have the shape of x0 (3, 4), got (4, 3)": lambda: ops.q_sample(
        X, T, TABLE, key=KEY, out=torch.empty(4, 3)
    ),
    "q_sample: out must be contiguous, got a strided view of shape (3, 4)": lambda: ops.q_sample(
        X, T, TABLE, key=KEY, out=torch.empty(4, 3).t()
    ),
    "q_sample: out takes no gradient, but x0 or noise requires one": lambda: ops.q_sample(
        X.clone().requires_grad_(), T, TABLE, key=KEY, out=torch.empty(3, 4)
    ),
    "q_sample_with_target: first_index must not be negative": lambda: ops.q_sample_with_noise(
        X, T, TABLE, KEY, first_index=-4
    ),
    "q_sample_with_target: prediction_type must be epsilon, sample, v_prediction or velocity, got eps": lambda: (
        ops.q_sample_with_target(X, T, TABLE, key=KEY, prediction_type="eps")
    ),
    "diffusion_loss: x0 must have the shape of prediction (3, 4), got (3, 2)": lambda: loss(x0=X[:, :2]),
    "diffusion_loss: x0 must have the dtype of prediction (float32), got bfloat16": lambda: loss(x0=X.bfloat16()),
    "diffusion_loss: prediction must be float32, float64 or bfloat16, got int64": lambda: loss(prediction=X.long()),
    "diffusion_loss: t[0] = -1 is outside of the schedule's levels": lambda: loss(t=T - 1),
    "diffusion_loss: give exactly one of noise and key": lambda: loss(noise=X),
    "diffusion_loss: prediction_type must be epsilon, sample": lambda: loss(prediction_type="x0"),
    "diffusion_loss: weights must have shape (T,) with the schedule's T = 5, got (3,)": lambda: loss(weights=X[:, 0]),
    "diffusion_loss: weights must be float64 or float32, got int64": lambda: loss(weights=TABLE.long()),
    "diffusion_loss: weights[1] = inf is not finite": lambda: loss(weights=WEIGHTS),
    "diffusion_loss: x0 and noise take no gradient, but one of them requires it": lambda: loss(
        x0=X.clone().requires_grad_()
    ),
    "diffusion_loss_backward: grad must have shape (B,) with B = 3, got (4,)": lambda: (
        torch.ops.genpipe.diffusion_loss_backward(X[0], X, X, T, TABLE, None, None, KEY, 0, "epsilon")
    ),
}
