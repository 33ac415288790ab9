"""Splines, couplings and Langevin steps against their references, other packages, and what must hold of them."""

from __future__ import annotations

import math

import pytest
import torch

from genpipe import ops
from genpipe.ops import reference
from tests.ops.cases import DTYPES, EVENTS, randn

KEY = ops.key(5, "flows")
BOUND = 3.0
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2}
EXACT = [torch.float32, torch.float64]
BOTH_WAYS = pytest.mark.parametrize("inverse", [False, True], ids=["forward", "inverse"])


def inputs(rows, event, bins, dtype=torch.float64, device="cpu", scale=1.0):
    x = 2 * randn(rows, *event, dtype=dtype, device=device)
    return x, scale * randn(rows, *event, 3 * bins - 1, dtype=dtype, seed=1, device=device)


def spline(x, params, **options):
    return ops.rational_quadratic_spline(x, params, bound=BOUND, **options)


def close(actual, expected, tolerance, scale=1.0):
    torch.testing.assert_close(actual.detach().cpu().double(), expected.cpu(), rtol=tolerance, atol=tolerance * scale)


@BOTH_WAYS
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("event", EVENTS, ids=str)
@pytest.mark.parametrize("rows", [0, 3])
def test_the_spline_is_its_reference(rows, event, dtype, inverse, device):
    x, params = inputs(rows, event, 5, dtype, device)
    value, log_det = spline(x, params, inverse=inverse)
    expected, expected_log_det = reference.rational_quadratic_spline(
        x.double(), params.double(), bound=BOUND, inverse=inverse
    )
    assert value.dtype == dtype
    assert log_det.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    row = TOLERANCE[dtype if dtype == torch.float64 else torch.float32]
    close(value, expected, TOLERANCE[dtype], BOUND)
    close(log_det, expected_log_det, row, max(1, math.prod(event)))


@BOTH_WAYS
@pytest.mark.parametrize("bins", [1, 2, 3, 8, 21, 64])
@pytest.mark.parametrize("dtype", EXACT, ids=str)
def test_its_gradients_are_the_reference_s(dtype, bins, inverse, device):
    x, params = inputs(7, (9,), bins, dtype, device)
    towards = (randn(7, 9, dtype=dtype, seed=2, device=device), randn(7, dtype=dtype, seed=3, device=device))
    leaves = [x.requires_grad_(), params.requires_grad_()]
    doubles = [leaf.detach().double().requires_grad_() for leaf in leaves]
    actual = torch.autograd.grad(spline(*leaves, inverse=inverse), leaves, towards)
    expected = torch.autograd.grad(
        reference.rational_quadratic_spline(*doubles, bound=BOUND, inverse=inverse),
        doubles,
        [tensor.double() for tensor in towards],
    )
    tolerance = {torch.float32: 2e-4, torch.float64: 1e-9}[dtype]  # the reference of the inverse cancels
    for a, b in zip(actual, expected, strict=True):
        close(a, b, tolerance, b.abs().max().item())


@BOTH_WAYS
@pytest.mark.parametrize("bins", [1, 2, 5])
def test_spline_gradients_are_those_of_finite_differences(bins, inverse):
    x, params = (leaf.requires_grad_() for leaf in inputs(3, (4,), bins))
    assert torch.autograd.gradcheck(lambda x, params: spline(x, params, inverse=inverse), (x, params))


@BOTH_WAYS
def test_the_log_determinant_is_the_jacobian_s(inverse):
    x, params = inputs(1, (6,), 4)
    jacobian = torch.autograd.functional.jacobian(lambda x: spline(x, params, inverse=inverse)[0], x)
    (log_det,) = spline(x, params, inverse=inverse)[1]
    torch.testing.assert_close(log_det, torch.linalg.slogdet(jacobian.reshape(6, 6))[1])


@pytest.mark.parametrize("scale", [0.3, 3.0])
@pytest.mark.parametrize("dtype", EXACT, ids=str)
def test_the_inverse_undoes_the_spline(dtype, scale, device):
    x, params = inputs(50, (20,), 8, dtype, device, scale)
    y, log_det = spline(x, params)
    back, log_det_back = spline(y, params, inverse=True)
    # y is rounded by up to half an ulp of the bound, which the inverse's slope enlarges.
    slopes = torch.autograd.functional.vjp(lambda y: spline(y, params, inverse=True)[0], y, torch.ones_like(y))[1]
    ulps = (back - x).abs() / (torch.finfo(dtype).eps * BOUND * slopes.clamp(min=1))
    assert ulps.max() < 16
    close(log_det + log_det_back, torch.zeros(50, dtype=torch.float64), TOLERANCE[dtype], 20 * slopes.max().item())


@pytest.mark.parametrize("dtype", EXACT, ids=str)
def test_it_increases_and_maps_the_interval_onto_itself(dtype, device):
    x = torch.linspace(-1.2 * BOUND, 1.2 * BOUND, 20001, dtype=dtype, device=device)
    for seed in range(5):
        params = 4 * randn(1, 23, dtype=dtype, seed=seed, device=device).expand(len(x), -1)
        for inverse in (False, True):
            y, _ = spline(x, params, inverse=inverse)
            assert (y.diff() > -4 * BOUND * torch.finfo(dtype).eps).all()
            outside = x.abs() > BOUND
            assert torch.equal(y[outside], x[outside])
            assert y[~outside].abs().max() <= BOUND


@BOTH_WAYS
@pytest.mark.parametrize("dtype", EXACT, ids=str)
def test_knots_and_bounds_are_met_from_both_sides(dtype, inverse, device):
    bins = 6
    params = randn(1, 3 * bins - 1, dtype=dtype, device=device)
    side = params[0, bins : 2 * bins] if inverse else params[0, :bins]
    shares = 1e-3 + (1 - 1e-3 * bins) * side.softmax(0)
    knots = torch.cat([-torch.ones_like(side[:1]), 2 * shares.cumsum(0) - 1]) * BOUND
    eps = torch.finfo(dtype).eps
    for knot in knots:
        x = knot + torch.tensor([-64, -1, 0, 1, 64], dtype=dtype, device=device) * eps * BOUND
        y, log_det = spline(x, params.expand(5, -1), inverse=inverse)
        expected = reference.rational_quadratic_spline(
            x.double(), params.double().expand(5, -1), bound=BOUND, inverse=inverse
        )
        close(y, expected[0], 64 * eps, BOUND)
        close(log_det, expected[1], 4096 * eps)
    edges = torch.tensor([-BOUND, BOUND], dtype=dtype, device=device)
    y, log_det = spline(edges, params.expand(2, -1), inverse=inverse)
    close(y, edges.double(), 4 * eps)
    close(log_det, torch.zeros(2, dtype=torch.float64), 64 * eps)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
@pytest.mark.parametrize("dtype", EXACT, ids=str)
def test_huge_parameters_stay_finite(dtype, size, device):
    x, params = inputs(40, (5,), 8, dtype, device)
    huge = (params * size).clamp(max=1e4 if dtype == torch.float32 else size)
    huge[..., :16] = params[..., :16] * size
    for inverse in (False, True):
        leaves = [x.clone().requires_grad_(), huge.clone().requires_grad_()]
        value, log_det = spline(*leaves, inverse=inverse)
        assert value.isfinite().all()
        assert log_det.isfinite().all()
        assert all(g.isfinite().all() for g in torch.autograd.grad((value.sum() + log_det.sum()), leaves))


def test_what_is_not_a_number_stays_so(device):
    x, params = inputs(4, (3,), 4, torch.float32, device)
    x = x.clamp(-BOUND, BOUND)
    x[0, 1] = torch.nan
    params[1, 2, 0] = params[2, 0, 5] = torch.nan
    y, log_det = spline(x, params)
    assert y.isnan().nonzero().tolist() == [[0, 1], [1, 2], [2, 0]]
    assert log_det.isnan().tolist() == [True, True, True, False]
    x = torch.tensor([[math.inf], [-math.inf]], device=device)
    y, log_det = spline(x, params[:2, :1])
    assert torch.equal(y, x)
    assert torch.equal(log_det, torch.zeros_like(log_det))


@BOTH_WAYS
def test_zuko_agrees_on_the_same_knots(inverse):
    transforms = pytest.importorskip("zuko.transforms")
    x, params = inputs(30, (6,), 8)
    widths, heights, slopes = params.split((8, 8, 7), -1)
    theirs = transforms.MonotonicRQSTransform(widths, heights, slopes, bound=BOUND)
    theirs.horizontal, _ = reference.flows._knots(widths, BOUND, 1e-3)
    theirs.vertical, _ = reference.flows._knots(heights, BOUND, 1e-3)
    theirs.derivatives = torch.nn.functional.pad(1e-3 + torch.nn.functional.softplus(slopes), (1, 1), value=1.0)
    y, log_slope = theirs.call_and_ladj(x)
    ours, log_det = spline(y if inverse else x, params, inverse=inverse)
    torch.testing.assert_close(ours, x if inverse else y)
    torch.testing.assert_close(log_det, -log_slope.sum(1) if inverse else log_slope.sum(1))


@BOTH_WAYS
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_nflows_agrees_on_the_same_parameters(inverse):
    splines = pytest.importorskip("nflows.transforms.splines.rational_quadratic")
    x, params = inputs(30, (6,), 8)
    y, log_slope = splines.unconstrained_rational_quadratic_spline(
        x, *params.split((8, 8, 7), -1), inverse=inverse, tail_bound=BOUND
    )
    ours, log_det = spline(x, params, inverse=inverse)
    torch.testing.assert_close(ours, y)
    torch.testing.assert_close(log_det, log_slope.sum(1))


@BOTH_WAYS
@pytest.mark.parametrize("limit", [None, 1.5])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("event", [(), (1,), (17,), (300,), (4, 3, 5)], ids=str)
def test_the_coupling_is_its_reference(event, dtype, masked, limit, inverse, device):
    x, shift, log_scale = (randn(3, *event, dtype=dtype, seed=i, device=device) for i in range(3))
    mask = randn(*event, seed=4, device=device) > 0 if masked else None
    options = {"mask": mask, "limit": limit, "inverse": inverse}
    leaves = [x.requires_grad_(), shift.requires_grad_(), log_scale.requires_grad_()]
    doubles = [leaf.detach().double().requires_grad_() for leaf in leaves]
    actual, expected = ops.affine_coupling(*leaves, **options), reference.affine_coupling(*doubles, **options)
    row = 1e-6 if dtype == torch.bfloat16 else TOLERANCE[dtype]
    close(actual[0], expected[0].detach(), TOLERANCE[dtype], 10)
    close(actual[1], expected[1].detach(), row, max(1, math.prod(event)))
    towards = [randn(*y.shape, dtype=y.dtype, seed=7 + i, device=device) for i, y in enumerate(actual)]
    grads = torch.autograd.grad(actual, leaves, towards)
    for a, b in zip(grads, torch.autograd.grad(expected, doubles, [t.double() for t in towards]), strict=True):
        close(a, b, 2.5 * TOLERANCE[dtype], max(1.0, b.abs().max().item()))
    if masked:
        assert torch.equal(actual[0][:, mask], x[:, mask])
        assert not grads[1][:, mask].any()
        assert not grads[2][:, mask].any()


@BOTH_WAYS
@pytest.mark.parametrize("limit", [None, 1.5])
def test_coupling_gradients_are_those_of_finite_differences(limit, inverse):
    leaves = [randn(3, 5, dtype=torch.float64, seed=i).requires_grad_() for i in range(3)]
    mask = torch.tensor([True, False, False, True, False])
    for held in (None, mask):
        assert torch.autograd.gradcheck(
            lambda *a, held=held: ops.affine_coupling(*a, mask=held, limit=limit, inverse=inverse), leaves
        )


def test_the_inverse_undoes_the_coupling(device):
    x, shift, log_scale = (randn(8, 3, 4, 4, seed=i, device=device) for i in range(3))
    y, log_det = ops.affine_coupling(x, shift, log_scale, limit=2.0)
    back, log_det_back = ops.affine_coupling(y, shift, log_scale, limit=2.0, inverse=True)
    torch.testing.assert_close(back, x, rtol=1e-5, atol=1e-5)
    assert torch.equal(log_det, -log_det_back)


def test_the_halves_of_a_network_s_output_are_read_where_they_lie(device):
    x, params = randn(4, 3, 5, 5, device=device), randn(4, 6, 5, 5, seed=1, device=device)
    shift, log_scale = params.chunk(2, 1)
    expected = ops.affine_coupling(x, shift.contiguous(), log_scale.contiguous())
    for a, b in zip(ops.affine_coupling(x, shift, log_scale), expected, strict=True):
        assert torch.equal(a, b)
    row = shift[:1].expand(4, -1, -1, -1)
    assert torch.equal(ops.affine_coupling(x, row, log_scale)[0], ops.affine_coupling(x, row.clone(), log_scale)[0])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("event", EVENTS, ids=str)
@pytest.mark.parametrize("rows", [0, 3])
def test_the_langevin_step_is_its_reference(rows, event, dtype, device):
    x, grad = (randn(rows, *event, dtype=dtype, seed=i, device=device) for i in range(2))
    noise = ops.normal(KEY, x.shape, first_index=4, dtype=torch.float64)
    options = {"step_size": 0.3, "noise_scale": 0.1, "max_grad": 0.8, "clamp": (-1.0, 1.25)}
    for chosen in ({"step_size": 0.3}, options):
        given = {"noise_scale": math.sqrt(0.3), **chosen}
        expected = reference.langevin_step(x.double().cpu(), grad.double().cpu(), noise, **given)
        moved = ops.langevin_step(x, grad, KEY, first_index=4, **chosen)
        close(moved, expected, TOLERANCE[dtype])
        out = x.clone()
        assert ops.langevin_step(out, grad, KEY, first_index=4, out=out, **chosen) is out
        assert torch.equal(out, moved)


def test_langevin_gradients_are_those_of_finite_differences():
    x, grad = (randn(3, 5, dtype=torch.float64, seed=i).requires_grad_() for i in range(2))
    options = {"step_size": 0.3, "max_grad": 0.8, "clamp": (-1.0, 1.25)}
    for chosen in ({"step_size": 0.3}, options):
        assert torch.autograd.gradcheck(
            lambda x, grad, chosen=chosen: ops.langevin_step(x, grad, KEY, **chosen), (x, grad)
        )


def test_langevin_steps_sample_a_gaussian():
    # The Euler scheme's own stationary law for E = x^2 / 2 is N(0, 1 / (1 - step / 4)).
    x = torch.zeros(20000, 4)
    for i in range(60):
        ops.langevin_step(x, x, ops.key(1, i), step_size=0.4, out=x)
    assert abs(x.mean()) < 0.02
    assert abs(x.var() - 1 / (1 - 0.1)) < 0.03


def test_vmap_is_a_loop():
    x, params = randn(4, 3, 5), randn(4, 3, 5, 11, seed=1)
    mapped = torch.vmap(spline)(x, params)
    looped = [
        torch.stack(parts) for parts in zip(*(spline(*pair) for pair in zip(x, params, strict=True)), strict=True)
    ]
    assert all(torch.equal(a, b) for a, b in zip(mapped, looped, strict=True))
    y, log_det = torch.vmap(ops.affine_coupling, in_dims=(0, None, 0))(x, x[0], x)
    assert torch.equal(y[2], ops.affine_coupling(x[2], x[0], x[2])[0])
    assert log_det.shape == (4, 3)


def test_autocast_computes_in_float32():
    x, params = randn(3, 5), randn(3, 5, 11, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        y, log_det = spline(x.bfloat16(), params.bfloat16())
        z, _ = ops.affine_coupling(x.bfloat16(), x, x)
    assert y.dtype == log_det.dtype == z.dtype == torch.float32


def test_a_second_derivative_is_refused_by_name():
    x, params = (leaf.requires_grad_() for leaf in inputs(2, (3,), 4))
    for op, value in (
        ("rational_quadratic_spline", spline(x, params)[0]),
        ("affine_coupling", ops.affine_coupling(x, x, x)[0]),
    ):
        (grad,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        with pytest.raises(NotImplementedError, match=rf"genpipe.{op} is once differentiable"):
            grad.sum().backward()
