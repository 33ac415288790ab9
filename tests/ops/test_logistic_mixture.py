"""Mixtures of discretised logistics: a distribution over levels, its gradients, and its extremes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from genpipe import ops
from genpipe.ops import reference
from tests.ops.cases import DTYPES, layouts, randn

MAPS = {1: 3, 3: 10}
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 1e-6}
GRAD_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 1e-2}


def problem(channels, components, event, dtype=torch.float32, levels=256, rows=3, seed=0, device="cpu"):
    """Parameters whose log-scales reach from under the bound to far over the data's width, and levels with both ends."""
    params = randn(rows, MAPS[channels] * components, *event, dtype=torch.float64, seed=seed)
    params[:, (1 + channels) * components : (1 + 2 * channels) * components].mul_(3).sub_(2)
    x = torch.randint(levels, (rows, channels, *event), generator=torch.Generator().manual_seed(seed))
    x.view(rows, -1)[:, :1], x.view(rows, -1)[:, -1:] = 0, levels - 1
    return params.to(device, dtype), x.to(device)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("event", [(), (1,), (15,), (65,), (17, 17)], ids=str)
@pytest.mark.parametrize(("channels", "components"), [(1, 1), (1, 5), (3, 2), (3, 30)])
def test_value_and_gradient_are_the_references(channels, components, event, dtype, device):
    params, x = problem(channels, components, event, dtype, device=device)
    weights = randn(3, seed=9, dtype=torch.float64)
    exact = params.double().cpu().requires_grad_()
    expected = reference.discretized_logistic_mixture_nll(exact, x.cpu())
    (expected_grad,) = torch.autograd.grad((expected * weights).sum(), exact)
    params.requires_grad_()
    actual = ops.discretized_logistic_mixture_nll(params, x)
    (grad,) = torch.autograd.grad((actual * weights.to(actual)).sum(), params)
    torch.testing.assert_close(actual.cpu().double(), expected, rtol=TOLERANCE[dtype], atol=1e-5)
    scale = expected_grad.abs().max().item()
    torch.testing.assert_close(
        grad.cpu().double(), expected_grad, rtol=GRAD_TOLERANCE[dtype], atol=scale * GRAD_TOLERANCE[dtype]
    )


@pytest.mark.parametrize("levels", [2, 16, 256, 1000])
@pytest.mark.parametrize("components", [1, 10])
def test_the_bins_sum_to_one(levels, components, device):
    params, _ = problem(1, components, (20,), rows=1, device=device)
    x = torch.arange(levels, device=device)[:, None]
    for i in range(20):
        nll = ops.discretized_logistic_mixture_nll(params[:, :, i].expand(levels, -1), x, levels=levels)
        # Rounding of 1000 bins adds up.
        assert (-nll.double()).exp().sum().item() == pytest.approx(1, abs=3e-7 if levels <= 256 else 1e-6)


def test_three_channels_of_few_levels_sum_to_one():
    params, _ = problem(3, 4, (), torch.float64, rows=1)
    levels = torch.cartesian_prod(*[torch.arange(6)] * 3)
    nll = ops.discretized_logistic_mixture_nll(params.expand(len(levels), -1), levels, levels=6)
    assert (-nll).exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_it_is_the_paper_s_difference_of_sigmoids():
    """Eq. 2, and the density at the middle of a bin far narrower than its logistic, as the paper's code has it."""
    params, x = problem(1, 1, (200,), torch.float64)
    params[:, 2].clamp_(-3, 1)
    value = 2 * x[:, 0].double() / 255 - 1
    s = params[:, 2].exp()
    upper, lower = (value - params[:, 1] + 1 / 255) / s, (value - params[:, 1] - 1 / 255) / s
    mass = torch.where(x[:, 0] == 255, 1, upper.sigmoid()) - torch.where(x[:, 0] == 0, 0, lower.sigmoid())
    keep = mass > 1e-5
    nll = ops.discretized_logistic_mixture_nll(params.transpose(1, 2).flatten(0, 1), x.reshape(-1, 1)).reshape(3, 200)
    torch.testing.assert_close(nll[keep], -mass[keep].log(), rtol=1e-9, atol=1e-9)
    m = (value - params[:, 1]) / 50
    wide = ops.discretized_logistic_mixture_nll(
        torch.stack([m * 0, params[:, 1], m * 0 + torch.log(torch.tensor(50.0))], -1).flatten(0, 1).double(),
        x.reshape(-1, 1),
    ).reshape(3, 200)
    middle = -(m - torch.log(torch.tensor(50.0, dtype=torch.float64)) - 2 * F.softplus(m) - torch.log(m * 0 + 127.5))
    inner = (x[:, 0] > 0) & (x[:, 0] < 255)
    torch.testing.assert_close(wide[inner], middle[inner], rtol=1e-6, atol=1e-6)


def test_gradients_are_those_of_finite_differences():
    for channels in (1, 3):
        params, x = problem(channels, 3, (4,), torch.float64)
        params.requires_grad_()
        assert torch.autograd.gradcheck(lambda p, x=x: ops.discretized_logistic_mixture_nll(p, x), (params,))


def test_a_level_may_come_as_its_number_or_its_value(device):
    params, x = problem(3, 5, (7, 9), device=device)
    expected = ops.discretized_logistic_mixture_nll(params, x)
    assert torch.equal(ops.discretized_logistic_mixture_nll(params, x.to(torch.uint8)), expected)
    value = (2 * x.double() / 255 - 1).float()
    torch.testing.assert_close(ops.discretized_logistic_mixture_nll(params, value), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_extreme_parameters_give_finite_values_and_gradients(dtype, device):
    extremes = torch.tensor([-1e4, -90.0, -7.0, 0.0, 7.0, 90.0, 1e4])
    logits, mean, log_scale, c = torch.cartesian_prod(extremes, extremes / 90, extremes, extremes).unbind(1)
    maps = torch.stack([logits, logits.flip(0), *[mean] * 6, *[log_scale] * 6, *[c] * 6], dim=1)
    params = maps.to(device, dtype).requires_grad_()
    for level in (0, 1, 128, 255):
        x = torch.full((len(maps), 3), level, dtype=torch.uint8, device=device)
        nll = ops.discretized_logistic_mixture_nll(params, x)
        (grad,) = torch.autograd.grad(nll.sum(), params)
        assert nll.isfinite().all()
        assert grad.isfinite().all()


def test_scales_under_the_bound_get_no_gradient(device):
    params = torch.tensor([[0.0, 0.1, -9.0], [0.0, 0.1, -7.0]], device=device, requires_grad=True)
    nll = ops.discretized_logistic_mixture_nll(params, torch.full((2, 1), 128, device=device))
    (grad,) = torch.autograd.grad(nll.sum(), params)
    assert nll[0] == nll[1]
    assert grad[0, 2] == 0 != grad[1, 2]


def test_any_number_of_components_and_no_pixels(device):
    for components in (64, 65, 512):
        params, x = problem(3, components, (3,), device=device)
        expected = reference.discretized_logistic_mixture_nll(params.double().cpu(), x.cpu())
        torch.testing.assert_close(
            ops.discretized_logistic_mixture_nll(params, x).cpu().double(), expected, rtol=1e-5, atol=0
        )
    for rows, pixels in ((0, 4), (2, 0), (0, 0)):
        params = torch.zeros(rows, 20, pixels, device=device, requires_grad=True)
        nll = ops.discretized_logistic_mixture_nll(params, torch.zeros(rows, 3, pixels, device=device))
        assert torch.equal(nll, torch.zeros(rows, device=device))
        (grad,) = torch.autograd.grad(nll.sum(), params)
        assert grad.shape == params.shape


def test_strides_do_not_matter(device):
    params, x = problem(3, 2, (6, 5), device=device)
    expected = ops.discretized_logistic_mixture_nll(params, x)
    for name, view in layouts(params).items():
        assert torch.equal(ops.discretized_logistic_mixture_nll(view, x.flip(1).flip(1)), expected), name


@pytest.mark.parametrize("rows", [3, 4])  # whose mean's gradient is, and is not, a power of two
def test_the_eager_route_gives_the_bits_of_the_registered_op(rows, device):
    params, x = problem(3, 3, (70,), rows=rows, device=device)
    params.requires_grad_()
    registered = torch.ops.genpipe.discretized_logistic_mixture_nll(params, x, 256)
    eager = ops.discretized_logistic_mixture_nll(params, x)
    assert type(eager.grad_fn) is not type(registered.grad_fn)
    assert torch.equal(eager, registered)
    for towards in (torch.full((rows,), 1 / rows), torch.full((1,), 0.3).expand(rows), randn(rows)):
        (expected,) = torch.autograd.grad(registered, params, towards.to(device), retain_graph=True)
        eager = ops.discretized_logistic_mixture_nll(params, x)
        for _ in range(2):  # the second pass over a retained graph
            (actual,) = torch.autograd.grad(eager, params, towards.to(device), retain_graph=True)
            assert torch.equal(actual, expected)


def test_vmap_is_a_loop():
    params, x = problem(3, 2, (4,), rows=6)
    batched = torch.vmap(ops.discretized_logistic_mixture_nll)(params.unflatten(0, (2, 3)), x.unflatten(0, (2, 3)))
    torch.testing.assert_close(batched.flatten(), ops.discretized_logistic_mixture_nll(params, x))
