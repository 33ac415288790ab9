"""A mistake's text names the op and the argument, what was given and what was expected."""

from __future__ import annotations

import pytest
import torch

from genpipe import _C, ops
from tests.ops.cases import all_mistakes, randn

KEY = ops.key(0, 0)
X, T, TABLE = randn(3, 4), torch.tensor([0, 1, 2]), torch.linspace(0.9, 0.1, 5, dtype=torch.float64)

MISTAKES = all_mistakes()


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
