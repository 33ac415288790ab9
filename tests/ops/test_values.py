"""Every op against its float64 reference: shapes, dtypes, layouts, extremes, empty batches."""

from __future__ import annotations

import pytest
import torch

from genpipe import ops
from genpipe.ops import reference
from tests.ops.cases import DTYPES, EVENTS, layouts, randn

KEY = ops.key(1, "values")
ALPHA_BAR = torch.linspace(0.9999, 0.003, 20, dtype=torch.float64)

# Relative to the terms' size: row sums are kept in float32 for bfloat16 too, outputs are rounded to it.
ROW_TOLERANCE = {torch.float32: 3e-6, torch.float64: 1e-14, torch.bfloat16: 3e-6}
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 4e-3}


def close(actual, expected, tolerance, scale=1.0):
    torch.testing.assert_close(actual.detach().cpu().double(), expected, rtol=tolerance, atol=tolerance * scale)


def inputs(rows, event, dtype, device, num):
    return [randn(rows, *event, dtype=dtype, seed=i, device=device) for i in range(num)]


def noise(x, first_index=0):
    return ops.normal(KEY, x.shape, first_index=first_index, dtype=x.dtype, device=x.device)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("event", EVENTS, ids=str)
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_q_sample_is_its_reference(rows, event, dtype, device):
    (x0,) = inputs(rows, event, dtype, device, 1)
    t = torch.tensor([0, 19, 7][:rows], dtype=torch.int64, device=device)
    table = ALPHA_BAR.to(device)
    e = noise(x0, first_index=4)
    expected = reference.q_sample(x0.double(), t, table, e.double()).cpu()
    given_noise = ops.q_sample(x0, t, table, noise=e)
    close(given_noise, expected, TOLERANCE[dtype])
    x_t, kept = ops.q_sample_with_noise(x0, t, table, KEY, first_index=4)
    assert torch.equal(kept, e)
    assert torch.equal(x_t, given_noise)
    generated = ops.q_sample(x0, t, table, key=KEY, first_index=4)
    if dtype == torch.bfloat16:  # the noise that nobody sees is not rounded
        close(generated, x_t.cpu().double(), 1.6e-2)
    else:
        assert torch.equal(generated, x_t)
    out = torch.full_like(x0, torch.nan)
    assert ops.q_sample(x0, t, table, key=KEY, first_index=4, out=out) is out
    assert torch.equal(out, generated)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("event", EVENTS, ids=str)
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_elbo_terms_are_their_references(rows, event, dtype, device):
    mean, log_var, x = inputs(rows, event, dtype, device, 3)
    doubles = [tensor.double().cpu() for tensor in (mean, log_var, x)]
    columns = max(1, mean[0].numel() if rows else 1)
    row = ROW_TOLERANCE[dtype]

    z, kl = ops.gaussian_reparam(mean, log_var, KEY, 4)
    e = ops.normal(KEY, mean.shape, first_index=4, dtype=torch.float64)
    expected_z, expected_kl = reference.gaussian_reparam(*doubles[:2], e)
    close(z, expected_z, TOLERANCE[dtype], scale=3)
    close(kl, expected_kl, row, scale=columns)

    close(ops.gaussian_nll(mean, log_var, x), reference.gaussian_nll(*doubles), row, scale=columns)
    close(ops.bernoulli_nll(mean, x), reference.bernoulli_nll(doubles[0], doubles[2]), row, scale=columns)
    expected_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    assert kl.dtype == ops.bernoulli_nll(mean, x).dtype == expected_dtype
    assert kl.shape == (rows,)
    assert z.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("event", [(1,), (17,), (257,), (1025,)], ids=str)
def test_gradients_are_the_references(event, dtype, device):
    leaves = inputs(3, event, dtype, device, 3)
    doubles = [tensor.double().cpu().requires_grad_() for tensor in leaves]
    leaves = [tensor.requires_grad_() for tensor in leaves]
    weights = randn(3, seed=9, dtype=torch.float64)

    def total(namespace, mean, log_var, x, noised):
        z, kl = noised(mean, log_var)
        rows = kl + namespace.gaussian_nll(mean, log_var, x) + namespace.bernoulli_nll(mean, x)
        return (rows * weights.to(rows)).sum() + (z.sin() * 0.5).sum()

    e = ops.normal(KEY, leaves[0].shape, dtype=torch.float64)
    expected = torch.autograd.grad(
        total(reference, *doubles, lambda m, v: reference.gaussian_reparam(m, v, e)), doubles
    )
    actual = torch.autograd.grad(total(ops, *leaves, lambda m, v: ops.gaussian_reparam(m, v, KEY)), leaves)
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 4e-2}[dtype]
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == dtype
        close(a, b, tolerance, scale=b.abs().max().item())


def test_strides_do_not_matter(device):
    x = randn(4, 3, 6, 5, device=device)
    t = torch.tensor([0, 5, 19, 1], device=device)
    table = ALPHA_BAR.to(device)
    e = noise(x)
    base_q, base_b = ops.q_sample(x, t, table, key=KEY), ops.bernoulli_nll(x, e)
    base_g, base_z = ops.gaussian_nll(x, e, e), ops.gaussian_reparam(x, e, KEY)[0]
    for name, view in layouts(x).items():
        assert torch.equal(ops.q_sample(view, t, table, key=KEY), base_q), name
        assert torch.equal(ops.q_sample(x, t, table, noise=layouts(e)[name]), base_q), name
        assert torch.equal(ops.bernoulli_nll(view, e), base_b), name
        assert torch.equal(ops.gaussian_nll(view, e, layouts(e)[name]), base_g), name
        assert torch.equal(ops.gaussian_reparam(view, e, KEY)[0], base_z), name
    expanded = x[:1].expand(4, -1, -1, -1)
    assert torch.equal(ops.bernoulli_nll(expanded, e), ops.bernoulli_nll(expanded.contiguous(), e))
    table_view = torch.stack([table, -table], 1)[:, 0]
    assert torch.equal(ops.q_sample(x, t.repeat_interleave(2)[::2], table_view, key=KEY), base_q)


def test_a_log_variance_broadcasts(device):
    mean = randn(3, 4, 5, device=device)
    x = randn(3, 4, 5, seed=1, device=device)
    log_var = torch.tensor(-0.3, device=device, requires_grad=True)
    nll = ops.gaussian_nll(mean, log_var, x)
    assert torch.equal(nll, ops.gaussian_nll(mean, torch.full_like(mean, -0.3), x))
    nll.sum().backward()
    assert log_var.grad.shape == ()


def test_noising_in_place_is_noising(device):
    x = randn(5, 33, device=device)
    t = torch.tensor([0, 1, 2, 3, 4], device=device)
    expected = ops.q_sample(x, t, ALPHA_BAR.to(device), key=KEY)
    ops.q_sample(x, t, ALPHA_BAR.to(device), key=KEY, out=x)
    assert torch.equal(x, expected)


def test_a_float_table_serves(device):
    x, t = randn(3, 8, device=device), torch.tensor([0, 10, 19], device=device)
    double = ops.q_sample(x, t, ALPHA_BAR.to(device), key=KEY)
    torch.testing.assert_close(ops.q_sample(x, t, ALPHA_BAR.float().to(device), key=KEY), double)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_extreme_logits_stay_finite_and_right(dtype, device):
    logits = torch.tensor([[-3e38, -1e4, -104.0, -88.0, -20.0, -1e-30, 0.0, 1e-30, 20.0, 88.0, 104.0, 1e4, 3e38]])
    logits = logits.to(device, dtype).t().contiguous().requires_grad_()
    for target in (0.0, 1.0, 0.25):
        x = torch.full_like(logits, target)
        nll = ops.bernoulli_nll(logits, x)
        (grad,) = torch.autograd.grad(nll.sum(), logits)
        exact = logits.detach().double().cpu().requires_grad_()
        expected = reference.bernoulli_nll(exact, x.double().cpu())
        close(nll, expected.detach(), 1e-6)
        close(grad, exact.detach().sigmoid() - target, 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_extreme_log_variances_stay_right(dtype, device):
    log_var = torch.tensor([-300.0, -160.0, -80.0, -1e-4, 0.0, 1e-4, 50.0, 80.0], device=device, dtype=dtype)[:, None]
    mean = torch.full_like(log_var, 0.5)
    z, kl = ops.gaussian_reparam(mean, log_var, KEY)
    e = ops.normal(KEY, mean.shape, dtype=torch.float64)
    expected_z, expected_kl = reference.gaussian_reparam(mean.double().cpu(), log_var.double().cpu(), e)
    close(z, expected_z, 1e-5)
    close(kl, expected_kl, 2e-6)
    x = torch.full_like(mean, 0.25)
    expected = reference.gaussian_nll(mean.double().cpu(), log_var.double().cpu(), x.double().cpu())
    fits = expected < torch.finfo(dtype).max  # e^160 is beyond float32
    close(ops.gaussian_nll(mean, log_var, x)[fits.to(device)], expected[fits], 1e-4)


def test_what_is_not_a_number_stays_so(device):
    nan = torch.tensor([[0.0, torch.nan, 1.0]], device=device).requires_grad_()
    x = torch.zeros_like(nan)
    for rows in (ops.bernoulli_nll(nan, x), ops.gaussian_nll(x, nan, x), ops.gaussian_nll(nan, x, x)):
        assert rows.isnan().all()
        assert torch.autograd.grad(rows.sum(), nan)[0][0, 1].isnan()
    z, kl = ops.gaussian_reparam(x, nan, KEY)
    assert kl.isnan().all()
    assert z[0, 1].isnan()
    assert ops.q_sample(nan, torch.tensor([0], device=device), ALPHA_BAR.to(device), key=KEY)[0, 1].isnan()
