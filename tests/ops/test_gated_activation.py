"""The gated activation, against tanh and sigmoid."""

from __future__ import annotations

import pytest
import torch

from genpipe import ops
from genpipe.ops import reference
from tests.ops.cases import DTYPES, EVENTS, layouts, randn

INPUTS = [-200.0, -90.0, -20.0, -1.0, -1e-3, -1e-30, 0.0, 1e-30, 1e-3, 1.0, 20.0, 90.0, 200.0]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("with_addend", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_gradients_are_the_reference_s(event, with_addend, dtype):
    tensors = [randn(2, 6, *event, dtype=dtype, seed=i).requires_grad_() for i in range(1 + with_addend)]
    exact = [x.detach().double().requires_grad_() for x in tensors]
    out, expected = ops.gated_activation(*tensors), reference.gated_activation(*exact)
    towards = randn(*out.shape, dtype=dtype, seed=9)
    rtol = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 8e-3}[dtype]
    actual = (out, *torch.autograd.grad(out, tensors, towards))
    for a, b in zip(actual, (expected, *torch.autograd.grad(expected, exact, towards.double())), strict=True):
        assert a.dtype == dtype
        torch.testing.assert_close(a.double(), b, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_inputs_keep_their_relative_precision(dtype):
    a, b = torch.meshgrid(torch.tensor(INPUTS, dtype=dtype), torch.tensor(INPUTS, dtype=dtype), indexing="ij")
    x = torch.stack([a.ravel(), b.ravel()], dim=1)
    expected = reference.gated_activation(x.double())
    rtol = 2e-6 if dtype == torch.float32 else 2e-13  # the exponential's, which grows with its argument
    tiny = torch.finfo(dtype).tiny
    torch.testing.assert_close(ops.gated_activation(x).double(), expected, rtol=rtol, atol=10 * tiny)


def test_infinities_saturate_and_nan_stays():
    x = torch.tensor([[float("inf"), 1.0], [-float("inf"), 1.0], [1.0, float("inf")], [1.0, -float("inf")]])
    sigmoid, tanh = torch.tensor(1.0).sigmoid(), torch.tensor(1.0).tanh()
    expected = torch.stack([sigmoid, -sigmoid, tanh, torch.tensor(0.0)])
    torch.testing.assert_close(ops.gated_activation(x)[:, 0], expected)
    for row in ([float("nan"), 1.0], [1.0, float("nan")]):
        assert ops.gated_activation(torch.tensor([row])).isnan().all()


def test_gradients_are_those_of_finite_differences():
    x, addend = (randn(2, 4, 3, dtype=torch.float64, seed=i).requires_grad_() for i in range(2))
    condition = randn(2, 4, 1, dtype=torch.float64, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(ops.gated_activation, (x,))
    assert torch.autograd.gradcheck(ops.gated_activation, (x, addend))
    assert torch.autograd.gradcheck(ops.gated_activation, (x, condition))
    assert torch.autograd.gradcheck(lambda a: ops.gated_activation(x.detach(), a), (addend,))


def test_strides_do_not_matter():
    x, addend = randn(2, 6, 5, 7), randn(2, 6, 5, 7, seed=1)
    expected = ops.gated_activation(x, addend)
    for name, view in layouts(x).items():
        assert torch.equal(ops.gated_activation(view, addend), expected), name
        assert torch.equal(ops.gated_activation(addend, view), expected), name
