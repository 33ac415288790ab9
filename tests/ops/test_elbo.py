"""Losses from the pieces of an ELBO: categoricals, β and free bits, importance-weighted bounds."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from genpipe import ops
from genpipe.ops import reference
from tests.ops.cases import DTYPES, layouts, randn

TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-14, torch.bfloat16: 2e-6}
GRAD_TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-13, torch.bfloat16: 1e-2}


def levels(high, *shape, seed=0):
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("logits_shape", "x_shape", "high"),
    [
        ((3, 7), (3,), 7),
        ((3, 256), (3,), 256),
        ((3, 17, 5), (3, 5), 17),
        ((3, 9, 300), (3, 300), 9),
        ((2, 3 * 16, 6, 50), (2, 3, 6, 50), 16),
        ((2, 3 * 1, 4), (2, 3, 4), 1),
        ((3, 4 * 20), (3, 4), 20),
        ((0, 4, 5), (0, 5), 4),
        ((2, 4, 0), (2, 0), 4),
    ],
)
def test_categoricals_are_their_reference(logits_shape, x_shape, high, dtype, device):
    logits = (3 * randn(*logits_shape, dtype=torch.float64)).to(device, dtype).requires_grad_()
    x = levels(high, *x_shape).to(device)
    exact = logits.detach().double().cpu().requires_grad_()
    weights = randn(x_shape[0], seed=5, dtype=torch.float64)
    expected = reference.categorical_nll(exact, x.cpu())
    (expected_grad,) = torch.autograd.grad((expected * weights).sum(), exact)
    for given in (x, x.to(torch.uint8)) if high <= 256 else (x,):
        actual = ops.categorical_nll(logits, given)
        (grad,) = torch.autograd.grad((actual * weights.to(actual)).sum(), logits)
        torch.testing.assert_close(actual.cpu().double(), expected, rtol=TOLERANCE[dtype], atol=1e-5)
        torch.testing.assert_close(
            grad.cpu().double(), expected_grad, rtol=GRAD_TOLERANCE[dtype], atol=GRAD_TOLERANCE[dtype]
        )


def test_categoricals_are_cross_entropy(device):
    logits, x = randn(4, 10, 6, device=device), levels(10, 4, 6).to(device)
    expected = F.cross_entropy(logits, x, reduction="none").sum(1)
    torch.testing.assert_close(ops.categorical_nll(logits, x), expected)
    torch.testing.assert_close(
        (-ops.categorical_nll(logits[:1, :, 0].expand(10, -1), torch.arange(10, device=device))).exp().sum(),
        torch.tensor(1.0, device=device),
    )


def test_categorical_extremes_and_strides(device):
    logits = torch.tensor([[1e4, -1e4, 0.0], [-math.inf, 0.0, 3.0]], device=device, requires_grad=True)
    nll = ops.categorical_nll(logits, torch.tensor([1, 2], device=device))
    (grad,) = torch.autograd.grad(nll.sum(), logits)
    torch.testing.assert_close(nll.cpu(), torch.tensor([2e4, math.log1p(math.exp(-3))]))
    assert grad.isfinite().all()
    logits, x = randn(4, 3 * 6, 6, 5, device=device), levels(6, 4, 3, 6, 5).to(device)
    for name, view in layouts(logits).items():
        assert torch.equal(ops.categorical_nll(view, x.flip(1).flip(1)), ops.categorical_nll(logits, x)), name


def test_gradients_are_those_of_finite_differences():
    logits = randn(3, 6, 4, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: ops.categorical_nll(a, levels(6, 3, 4)), (logits,))
    assert torch.autograd.gradcheck(lambda a: ops.categorical_nll(a, levels(3, 3, 2, 4)), (logits,))
    assert torch.autograd.gradcheck(ops.log_mean_exp, (randn(4, 5, dtype=torch.float64).requires_grad_(),))


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_the_eager_route_gives_the_bits_of_the_registered_op(rows, device):
    logits = randn(rows, 5, 40, device=device).requires_grad_()
    x = levels(5, rows, 40).to(device)
    registered = torch.ops.genpipe.categorical_nll(logits, x)
    for towards in (torch.full((1,), 1 / rows).expand(rows), torch.full((1,), 0.3).expand(rows), randn(rows)):
        (expected,) = torch.autograd.grad(registered, logits, towards.to(device), retain_graph=True)
        eager = ops.categorical_nll(logits, x)
        assert torch.equal(eager, registered)
        for _ in range(2):  # the second pass over a retained graph
            (actual,) = torch.autograd.grad(eager, logits, towards.to(device), retain_graph=True)
            assert torch.equal(actual, expected)


@pytest.mark.parametrize("rows", [1, 8, 300])
@pytest.mark.parametrize("beta", [1.0, 0.25, 0.0])
def test_the_loss_is_a_mean_with_beta(rows, beta, device):
    nll, kl = (randn(rows, seed=i, device=device).requires_grad_() for i in range(2))
    loss, expected = ops.elbo_loss(nll, kl, beta=beta), reference.elbo_loss(nll, kl, beta)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    for a, b in zip(
        torch.autograd.grad(3 * loss, (nll, kl)), torch.autograd.grad(3 * expected, (nll, kl)), strict=True
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("rows", [5, 8])
def test_a_whole_elbo_is_its_pieces(rows, device):
    logits, mean, log_var = (randn(rows, 30, seed=i, device=device).requires_grad_() for i in range(3))
    x, key = randn(rows, 30, seed=4, device=device).sigmoid(), ops.key(0, 0)
    losses = []
    for route in (ops, torch.ops.genpipe):
        kl = route.gaussian_reparam(mean, log_var, key, 0)[1]
        nll = route.bernoulli_nll(logits, x)
        loss = ops.elbo_loss(nll, kl) if route is ops else (nll + kl).mean()
        losses.append((loss, *torch.autograd.grad(loss, (logits, mean, log_var))))
    for a, b in zip(*losses, strict=True):
        torch.testing.assert_close(a, b)


def test_free_bits_hold_each_group_above_its_bound():
    mean, log_var = (randn(6, 8, dtype=torch.float64, seed=i).requires_grad_() for i in range(2))
    per_dimension = (0.5 * (mean.square() + log_var.exp() - 1 - log_var)).mean(0)
    torch.testing.assert_close(ops.free_bits_kl(mean, log_var, 0.0), per_dimension.sum())
    bound = per_dimension.median().item()
    held = ops.free_bits_kl(mean, log_var, bound)
    torch.testing.assert_close(held, per_dimension.clamp(min=bound).sum())
    (grad,) = torch.autograd.grad(held, mean)
    assert ((grad == 0).all(0) == (per_dimension < bound)).all()
    pairs = per_dimension.unflatten(0, (4, 2)).sum(1)
    torch.testing.assert_close(ops.free_bits_kl(mean, log_var, 1.0, group_size=2), pairs.clamp(min=1.0).sum())
    halves = [ops.free_bits_kl(mean[i::2], log_var[i::2], bound, batch_kl=per_dimension) for i in range(2)]
    torch.testing.assert_close(torch.stack(halves).mean(), held)  # of a batch that is cut, decided as for the whole
    with pytest.raises(ValueError, match="group_size must divide the code's 8 numbers, got 3"):
        ops.free_bits_kl(mean, log_var, 1.0, group_size=3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("samples", "rows"), [(1, 3), (5, 1), (50, 65), (3, 200), (7, 0)])
def test_log_mean_exp_is_its_reference(samples, rows, dtype, device):
    x = (20 * randn(samples, rows, dtype=torch.float64)).to(device, dtype).requires_grad_()
    exact = x.detach().double().cpu().requires_grad_()
    actual, expected = ops.log_mean_exp(x), reference.log_mean_exp(exact)
    tolerance = {torch.float32: 2e-6, torch.float64: 1e-14}[dtype]
    torch.testing.assert_close(actual.cpu().double(), expected, rtol=tolerance, atol=tolerance)
    towards = randn(rows, dtype=torch.float64)
    (expected_grad,) = torch.autograd.grad(expected, exact, towards)
    (grad,) = torch.autograd.grad(actual, x, towards.to(actual))
    torch.testing.assert_close(grad.cpu().double(), expected_grad, rtol=tolerance, atol=tolerance)


def test_log_mean_exp_of_infinities():
    x = torch.tensor([[-math.inf, 0.0, -math.inf, 1e4], [-math.inf, -math.inf, 2.0, -1e4]])
    expected = torch.tensor([-math.inf, -math.log(2), 2 - math.log(2), 1e4 - math.log(2)])
    torch.testing.assert_close(ops.log_mean_exp(x), expected)


def linear_gaussian(num_codes, dtype=torch.float64, rows=400):
    """h ~ N(0, 1), x | h ~ N(w h, 1/2), and a q(h | x) that is not quite the posterior: log-weights and log p(x)."""
    generator = torch.Generator().manual_seed(0)
    w = torch.tensor(1.3, dtype=dtype, requires_grad=True)
    x = torch.randn(rows, generator=generator, dtype=dtype) * (1.3**2 + 0.5) ** 0.5
    slope, log_var = (torch.tensor(v, dtype=dtype, requires_grad=True) for v in (0.5, -1.0))

    def log_weights(detach_q=False):
        mean = (slope * x).expand(num_codes, rows).reshape(-1, 1)
        variance = log_var.expand(num_codes * rows, 1)
        z, _ = ops.gaussian_reparam(mean, variance, ops.key(num_codes, "iwae"))
        z = z.reshape(num_codes, rows)
        m, v = (slope * x, log_var) if not detach_q else ((slope * x).detach(), log_var.detach())
        constant = math.log(2 * math.pi)
        log_q = -0.5 * ((z - m).square() / v.exp() + v + constant)
        log_p = -0.5 * (z.square() + constant) - 0.5 * ((x - w * z).square() / 0.5 + math.log(0.5) + constant)
        return log_p - log_q, z

    marginal = torch.distributions.Normal(torch.zeros((), dtype=dtype), (w**2 + 0.5).sqrt()).log_prob(x)
    return log_weights, marginal, (slope, log_var, w)


@pytest.mark.native
def test_importance_weighted_bounds_grow_towards_the_marginal_likelihood():
    bounds = []
    for num_codes in (1, 5, 50, 2000):
        log_weights, marginal, _ = linear_gaussian(num_codes)
        weights, _ = log_weights()
        bounds.append(ops.log_mean_exp(weights).mean().item())
        if num_codes == 1:
            torch.testing.assert_close(ops.log_mean_exp(weights), weights[0])  # the ELBO
    exact = marginal.mean().item()
    assert bounds == sorted(bounds)
    assert bounds[0] < exact - 0.02
    assert bounds[-1] == pytest.approx(exact, abs=2e-3)


@pytest.mark.native
def test_the_doubly_reparameterised_gradient_is_the_bound_s_in_expectation():
    log_weights, _, leaves = linear_gaussian(64, rows=3000)
    plain = torch.autograd.grad(ops.log_mean_exp(log_weights()[0]).mean(), leaves)
    weights, z = log_weights(detach_q=True)
    doubly = torch.autograd.grad(ops.dreg_bound(weights, z).mean(), leaves)
    for a, b in zip(plain[:2], doubly[:2], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=5e-3)
    torch.testing.assert_close(plain[2], doubly[2])  # the decoder's gradient is the usual one
    with pytest.raises(ValueError, match=r"z must begin with the shape of log_weights \(64, 3000\)"):
        ops.dreg_bound(weights, z.T)
