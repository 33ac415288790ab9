"""Derivatives, and how the ops stand in torch together: compile, export, vmap, autocast."""

from __future__ import annotations

import pytest
import torch

from genpipe import ops
from genpipe.ops import reference
from tests.ops.cases import DTYPES, randn

KEY = ops.key(3, "autograd")
TABLE = torch.linspace(0.99, 0.05, 6, dtype=torch.float64)
T = torch.tensor([0, 5, 2])


def leaves(num, dtype=torch.float64, shape=(3, 5)):
    return [randn(*shape, dtype=dtype, seed=i).requires_grad_() for i in range(num)]


def test_gradients_are_those_of_finite_differences():
    mean, log_var, x = leaves(3)
    assert torch.autograd.gradcheck(lambda m, v: ops.gaussian_reparam(m, v, KEY, 2), (mean, log_var))
    assert torch.autograd.gradcheck(ops.gaussian_nll, (mean, log_var, x))
    assert torch.autograd.gradcheck(ops.bernoulli_nll, (mean, x))
    assert torch.autograd.gradcheck(lambda a, e: ops.q_sample(a, T, TABLE, noise=e), (mean, x))
    assert torch.autograd.gradcheck(lambda a: ops.q_sample(a, T, TABLE, key=KEY), (mean,))
    assert torch.autograd.gradcheck(lambda a: ops.q_sample_with_noise(a, T, TABLE, KEY)[0], (mean,))


def test_the_forward_process_is_twice_differentiable():
    mean, x = leaves(2)
    assert torch.autograd.gradgradcheck(lambda a, e: ops.q_sample(a, T, TABLE, noise=e), (mean, x))


def test_only_one_of_the_outputs_needs_a_gradient():
    mean, log_var = leaves(2)
    z, kl = ops.gaussian_reparam(mean, log_var, KEY)
    e = ops.normal(KEY, mean.shape, dtype=torch.float64)
    (only_kl,) = torch.autograd.grad(kl.sum(), log_var, retain_graph=True)
    torch.testing.assert_close(only_kl, 0.5 * (log_var.exp() - 1))
    (only_z,) = torch.autograd.grad(z.sum(), log_var)
    torch.testing.assert_close(only_z, 0.5 * (0.5 * log_var).exp() * e)


def test_the_noise_that_is_handed_out_is_a_constant():
    (x0,) = leaves(1)
    x_t, e = ops.q_sample_with_noise(x0, T, TABLE, KEY)
    (grad,) = torch.autograd.grad((x_t - e).square().sum(), x0)
    torch.testing.assert_close(grad, (2 * (x_t - e) * TABLE[T].sqrt()[:, None]).detach())


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_eager_route_gives_the_bits_of_the_registered_ops(dtype):
    mean, log_var, x = leaves(3, dtype, (3, 300))
    registered = torch.ops.genpipe
    pairs = [
        ((ops.bernoulli_nll(mean, x),), (registered.bernoulli_nll(mean, x),), (mean, x)),
        ((ops.bernoulli_nll(mean, x.detach()),), (registered.bernoulli_nll(mean, x.detach()),), (mean,)),
        ((ops.gaussian_nll(mean, log_var, x),), (registered.gaussian_nll(mean, log_var, x),), (mean, log_var, x)),
        (ops.gaussian_reparam(mean, log_var, KEY, 1), registered.gaussian_reparam(mean, log_var, KEY, 1), (mean,)),
    ]
    for eager, other, inputs in pairs:
        towards = [randn(*value.shape, dtype=value.dtype, seed=9) for value in eager]
        assert type(eager[0].grad_fn) is not type(other[0].grad_fn)
        expected = torch.autograd.grad(other, inputs, towards)
        for _ in range(2):  # the second pass over a retained graph
            actual = torch.autograd.grad(eager, inputs, towards, retain_graph=True)
            for a, b in zip((*eager, *actual), (*other, *expected), strict=True):
                assert torch.equal(a, b)


def test_the_strides_of_a_gradient_do_not_matter():
    mean, log_var, x = leaves(3)
    rows = randn(3, 2, dtype=torch.float64, seed=9)[:, 0]
    values = [ops.bernoulli_nll(mean, x.detach()), ops.gaussian_nll(mean, log_var, x)]
    values.append(ops.gaussian_reparam(mean, log_var, KEY)[1])
    for value in (*values, torch.ops.genpipe.bernoulli_nll(mean, x)):
        for grad in (rows, rows[1].expand(3)):
            expected = torch.autograd.grad(value, mean, grad.clone(), retain_graph=True)
            assert torch.equal(*torch.autograd.grad(value, mean, grad, retain_graph=True), *expected)


def elbo(mean, log_var, x, t, first_index):
    x_t = ops.q_sample(x, t, TABLE, key=KEY, first_index=first_index)
    z, kl = ops.gaussian_reparam(mean, log_var, KEY, first_index)
    e = ops.normal(KEY, mean.shape, first_index=first_index)
    return (kl + ops.bernoulli_nll(z * 2, x_t.sigmoid()) + ops.gaussian_nll(z, log_var, x_t + e)).mean()


def test_compiled_as_one_graph_with_its_backward_pass():
    compiled = torch.compile(elbo, fullgraph=True, backend="aot_eager", dynamic=True)
    for rows, first_index in ((3, 0), (4, 10)):
        inputs = [randn(rows, 5, seed=i).requires_grad_() for i in range(3)]
        t = torch.arange(rows)
        expected = torch.autograd.grad(elbo(*inputs, t, first_index), inputs)
        actual = torch.autograd.grad(compiled(*inputs, t, first_index), inputs)
        for a, b in zip(actual, expected, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated:DeprecationWarning")  # inductor's own imports
def test_compiled_by_inductor_with_its_backward_pass():
    inputs = [randn(3, 5, seed=i).requires_grad_() for i in range(3)]
    compiled = torch.compile(elbo, fullgraph=True)
    expected = torch.autograd.grad(elbo(*inputs, T, 0), inputs)
    for a, b in zip(torch.autograd.grad(compiled(*inputs, T, 0), inputs), expected, strict=True):
        torch.testing.assert_close(a, b)


def test_exported_and_run():
    class Elbo(torch.nn.Module):
        def forward(self, mean, log_var, x):
            return elbo(mean, log_var, x, T, 0)

    inputs = tuple(randn(3, 5, seed=i) for i in range(3))
    program = torch.export.export(Elbo(), inputs)
    torch.testing.assert_close(program.module()(*inputs), Elbo()(*inputs))


def test_vmap_is_a_loop():
    mean, log_var, x = (randn(4, 3, 5, seed=i) for i in range(3))
    t = torch.tensor([[0, 1, 2], [3, 4, 5], [5, 4, 3], [2, 1, 0]])

    def loop(f, *batches):
        return torch.stack([f(*slices) for slices in zip(*batches, strict=True)])

    cases = [
        (ops.bernoulli_nll, (mean, x)),
        (ops.gaussian_nll, (mean, log_var, x)),
        (lambda m, v: ops.gaussian_reparam(m, v, KEY, 2)[0], (mean, log_var)),
        (lambda m, v: ops.gaussian_reparam(m, v, KEY, 2)[1], (mean, log_var)),
        (lambda a, b, e: ops.q_sample(a, b, TABLE, noise=e), (mean, t, x)),
        (lambda a, b: ops.q_sample(a, b, TABLE, key=KEY, first_index=2), (mean, t)),
    ]
    for f, batches in cases:
        torch.testing.assert_close(torch.vmap(f)(*batches), loop(f, *batches))
    torch.testing.assert_close(
        torch.vmap(ops.bernoulli_nll, in_dims=(1, None))(mean, x[:, 0]),
        torch.stack([ops.bernoulli_nll(mean[:, i], x[:, 0]) for i in range(3)]),
    )


def test_autocast_keeps_the_row_sums_in_float32():
    mean, log_var, x = (randn(3, 400, seed=i) for i in range(3))
    with torch.autocast("cpu", torch.bfloat16):
        z, kl = ops.gaussian_reparam(mean.bfloat16(), log_var, KEY)
        nll = ops.bernoulli_nll(mean.bfloat16(), x)
    assert z.dtype == kl.dtype == nll.dtype == torch.float32
    expected = reference.bernoulli_nll(mean.bfloat16().double(), x.double())
    torch.testing.assert_close(nll.double(), expected, rtol=1e-5, atol=1e-3)
