"""A mistake's text names the op and the argument, what was given and what was expected."""

from __future__ import annotations

import pytest
import torch

from genpipe import _C, ops
from tests.ops.cases import randn

KEY = ops.key(0, 0)
X, T, TABLE = randn(3, 4), torch.tensor([0, 1, 2]), torch.linspace(0.9, 0.1, 5, dtype=torch.float64)

MISTAKES = {
    "normal: shape must have a batch dimension": lambda: ops.normal(KEY, ()),
    "normal: shape has the negative size -2": lambda: ops.normal(KEY, (3, -2)),
    "normal: dtype must be float32, float64 or bfloat16, got int64": lambda: ops.normal(KEY, (3,), dtype=torch.int64),
    "normal: first_index must not be negative, got -1": lambda: ops.normal(KEY, (3,), first_index=-1),
    "normal: first_index 9223372036854775806 with 3 samples of 1 elements runs past": lambda: ops.normal(
        KEY, (3,), first_index=2**63 - 2
    ),
    "normal: key must be int64 of shape (2,), as ops.key(seed, stream) gives, got int64 of shape (3,)": lambda: (
        ops.normal(T, (3,))
    ),
    "uniform: key must be int64 of shape (2,), as ops.key(seed, stream) gives, got float32": lambda: ops.uniform(
        torch.zeros(2), (3,)
    ),
    "randint: high must be at least 1, got 0": lambda: ops.randint(KEY, 0, (3,)),
    "q_sample: give exactly one of noise and key": lambda: ops.q_sample(X, T, TABLE),
    "q_sample: give exactly one of noise and key ": lambda: ops.q_sample(X, T, TABLE, noise=X, key=KEY),
    "q_sample: x0 must be float32, float64 or bfloat16, got float16": lambda: ops.q_sample(X.half(), T, TABLE, key=KEY),
    "q_sample: x0 must have a batch dimension": lambda: ops.q_sample(X[0, 0], T, TABLE, key=KEY),
    "q_sample: t must be int64, got int32": lambda: ops.q_sample(X, T.int(), TABLE, key=KEY),
    "q_sample: t must have shape (B,) with x0's B = 3, got (2,)": lambda: ops.q_sample(X, T[:2], TABLE, key=KEY),
    "q_sample: t[1] = 5 is outside of alpha_bar's steps, 0 to 4": lambda: ops.q_sample(
        X, torch.tensor([0, 5, 0]), TABLE, key=KEY
    ),
    "q_sample: t[2] = -1 is outside of alpha_bar's steps, 0 to 4": lambda: ops.q_sample(
        X, torch.tensor([0, 4, -1]), TABLE, key=KEY
    ),
    "q_sample: alpha_bar must be float64 or float32, got int64": lambda: ops.q_sample(X, T, TABLE.long(), key=KEY),
    "q_sample: alpha_bar must have shape (T,), got (1, 5)": lambda: ops.q_sample(X, T, TABLE[None], key=KEY),
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
    "q_sample_with_noise: first_index must not be negative": lambda: ops.q_sample_with_noise(
        X, T, TABLE, KEY, first_index=-4
    ),
    "gaussian_reparam: log_var must have the shape of mean (3, 4), got (3, 1)": lambda: ops.gaussian_reparam(
        X, X[:, :1], KEY
    ),
    "gaussian_reparam: log_var must have the dtype of mean (float32), got float64": lambda: ops.gaussian_reparam(
        X, X.double(), KEY
    ),
    "gaussian_nll: x must have the shape of mean (3, 4), got (2, 4)": lambda: ops.gaussian_nll(X, X, X[:2]),
    "gaussian_nll: log_var must broadcast to mean's shape (3, 4), got (2,)": lambda: ops.gaussian_nll(X, X[0, :2], X),
    "bernoulli_nll: x must have the dtype of logits (float32), got uint8": lambda: ops.bernoulli_nll(X, X.byte()),
    "bernoulli_nll: logits must be float32, float64 or bfloat16, got int64": lambda: ops.bernoulli_nll(
        X.long(), X.long()
    ),
    "scale_rows_: factors must have shape (B,) with B = 3, got (2,)": lambda: torch.ops.genpipe.scale_rows_(
        X, X[:2, 0]
    ),
    "scale_rows_: x must be contiguous, got a strided view of shape (4, 3)": lambda: torch.ops.genpipe.scale_rows_(
        X.t(), X[0]
    ),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_named(text):
    with pytest.raises(RuntimeError) as caught:
        MISTAKES[text]()
    assert str(caught.value).startswith(f"genpipe.{text.strip()}")


def test_a_cuda_result_from_a_cpu_build_says_how_to_build():
    if _C.with_cuda:
        pytest.skip("this build has CUDA")
    with pytest.raises(RuntimeError, match=r"on cuda:0, but genpipe was built without CUDA; .* GENPIPE_CUDA=ON pip"):
        ops.normal(KEY, (3,), device="cuda:0")


@pytest.mark.gpu
def test_mixed_devices_are_named(device):
    x = X.to(device)
    with pytest.raises(RuntimeError, match=r"genpipe.q_sample: t must be on the device of x0 \(cuda:\d\), got cpu"):
        ops.q_sample(x, T, TABLE.to(device), key=KEY)
    with pytest.raises(RuntimeError, match=r"genpipe.bernoulli_nll: x must be on the device of logits"):
        ops.bernoulli_nll(x, X)


SECOND_DERIVATIVES = {
    "bernoulli_nll": lambda route, a: route.bernoulli_nll(a, X.sigmoid()),
    "gaussian_nll": lambda route, a: route.gaussian_nll(a, X, X),
    "gaussian_reparam": lambda route, a: route.gaussian_reparam(a, X, KEY, 0)[1],
}


@pytest.mark.parametrize("op", SECOND_DERIVATIVES)
@pytest.mark.parametrize("route", [ops, torch.ops.genpipe], ids=["eager", "registered"])
def test_a_second_derivative_is_refused_by_name(route, op):
    leaf = X.clone().requires_grad_()
    (grad,) = torch.autograd.grad(SECOND_DERIVATIVES[op](route, leaf).sum(), leaf, create_graph=True)
    with pytest.raises(NotImplementedError, match=rf"genpipe.{op} is once differentiable"):
        grad.sum().backward()
