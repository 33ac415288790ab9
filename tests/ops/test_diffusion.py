"""The targets that are made beside x_t, and the loss against them."""

from __future__ import annotations

import pytest
import torch

from genpipe import ops
from genpipe.ops import reference
from tests.ops.cases import DTYPES, EVENTS, layouts, randn

KEY = ops.key(2, "diffusion")
ALPHA_BAR = torch.linspace(0.9999, 0.003, 20, dtype=torch.float64)
PREDICTION_TYPES = ["epsilon", "sample", "v_prediction", "velocity"]
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 4e-3}
SCHEDULES = {
    "variance preserving": ALPHA_BAR,
    "the same, as pairs": torch.stack([ALPHA_BAR.sqrt(), (1 - ALPHA_BAR).sqrt()], 1),
    "variance exploding": torch.stack([torch.ones(20), torch.logspace(-2.7, 1.9, 20)], 1).double(),
    "flow": torch.stack([1 - torch.linspace(0, 1, 20), torch.linspace(0, 1, 20)], 1).double(),
}


def close(actual, expected, tolerance, scale=1.0):
    torch.testing.assert_close(actual.detach().cpu().double(), expected, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_target_is_its_reference_and_x_t_is_what_it_was(schedule, prediction_type, dtype, device):
    table = SCHEDULES[schedule].to(device)
    t = torch.tensor([0, 19, 7], device=device)
    for event in [(1,), (17,), (1025,), (3, 5, 7), (0,)]:
        x0 = randn(3, *event, dtype=dtype, device=device)
        e = ops.normal(KEY, x0.shape, first_index=4, dtype=dtype, device=device)
        doubles = x0.double(), t, table, e.double()
        for source in ({"noise": e}, {"key": KEY, "first_index": 4}):
            x_t, target = ops.q_sample_with_target(x0, t, table, prediction_type=prediction_type, **source)
            assert torch.equal(x_t, ops.q_sample(x0, t, table, noise=e))
            scale = float(table.max()) + 1
            close(x_t, reference.q_sample(*doubles).cpu(), TOLERANCE[dtype], scale)
            close(target, reference.q_sample_target(*doubles, prediction_type).cpu(), TOLERANCE[dtype], scale)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_targets_are_differentiable(prediction_type):
    x0, e = (randn(3, 5, dtype=torch.float64, seed=i).requires_grad_() for i in range(2))
    t, table = torch.tensor([0, 19, 7]), SCHEDULES["flow"]

    def both(x0, e):
        return ops.q_sample_with_target(x0, t, table, noise=e, prediction_type=prediction_type)

    assert torch.autograd.gradcheck(both, (x0, e))
    assert torch.autograd.gradcheck(lambda x0: ops.q_sample(x0, None, table[4:7], key=KEY), x0)


def test_a_level_for_each_sample_is_a_table_read_in_order(device):
    x0, table = randn(20, 9, device=device), SCHEDULES["flow"].to(device)
    t = torch.arange(20, device=device)
    assert torch.equal(ops.q_sample(x0, None, table, key=KEY), ops.q_sample(x0, t, table, key=KEY))
    own, read = (ops.diffusion_loss(x0 * 2, x0, i, table, weights=table[:, 1], key=KEY) for i in (None, t))
    assert torch.equal(own, read)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("event", EVENTS, ids=str)
def test_the_loss_is_its_reference(event, dtype, device):
    weights = torch.linspace(0.1, 5, 20, dtype=torch.float64)
    t = torch.tensor([0, 19, 7])
    for num, (prediction_type, table) in enumerate(zip(PREDICTION_TYPES, SCHEDULES.values(), strict=True)):
        prediction, x0 = (randn(3, *event, dtype=dtype, seed=i, device=device) for i in range(2))
        # What the key stands for is not rounded to bfloat16.
        e = ops.normal(KEY, x0.shape, first_index=num, dtype=torch.promote_types(dtype, torch.float32))
        expected = reference.diffusion_loss(
            prediction.cpu().double(), x0.cpu().double(), t, table, e.double(), prediction_type, weights
        )
        prediction.requires_grad_()
        where = {"t": t.to(device), "schedule": table.to(device), "weights": weights.to(device)}
        options = {**where, "key": KEY, "first_index": num, "prediction_type": prediction_type}
        actual = ops.diffusion_loss(prediction, x0, **options)
        assert actual.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        close(actual, expected, {torch.float64: 1e-13}.get(dtype, 1e-5))
        towards = torch.tensor([1.0, -2.0, 0.5], dtype=actual.dtype, device=device)
        (grad,) = torch.autograd.grad(actual, prediction, towards, retain_graph=True)
        double = prediction.detach().cpu().double().requires_grad_()
        (expected_grad,) = torch.autograd.grad(
            reference.diffusion_loss(double, x0.cpu().double(), t, table, e.double(), prediction_type, weights),
            double,
            towards.cpu().double(),
        )
        assert grad.dtype == dtype
        close(grad, expected_grad, 8 * TOLERANCE[dtype], scale=100)
        (again,) = torch.autograd.grad(actual, prediction, towards)  # from the key, as nothing is left of the first
        assert torch.equal(again, grad)
        registered = torch.ops.genpipe.diffusion_loss(
            prediction, x0, where["t"], where["schedule"], where["weights"], None, KEY, num, prediction_type
        )
        assert torch.equal(registered, actual)
        assert torch.equal(torch.autograd.grad(registered, prediction, towards)[0], grad)


def test_the_loss_of_the_target_is_zero(device):
    x0, t = randn(3, 700, device=device), torch.tensor([0, 19, 7], device=device)
    table = ALPHA_BAR.to(device)
    for prediction_type in PREDICTION_TYPES:
        _, target = ops.q_sample_with_target(x0, t, table, key=KEY, prediction_type=prediction_type)
        assert not ops.diffusion_loss(target, x0, t, table, key=KEY, prediction_type=prediction_type).any()


def test_the_loss_of_no_samples_and_of_empty_ones(device):
    t = torch.zeros(2, dtype=torch.int64, device=device)
    table, prediction = ALPHA_BAR.to(device), torch.zeros(2, 0, device=device, requires_grad=True)
    for source in ({"key": KEY}, {"noise": prediction.detach()}):
        loss = ops.diffusion_loss(prediction, prediction.detach(), t, table, **source)
        assert loss.tolist() == [0, 0]
        assert torch.autograd.grad(loss.sum(), prediction)[0].shape == (2, 0)
    none = torch.zeros(0, 5, device=device, requires_grad=True)
    loss = ops.diffusion_loss(none, none.detach(), t[:0], table, key=KEY)
    assert loss.shape == (0,)
    assert torch.autograd.grad(loss.sum(), none)[0].shape == (0, 5)


def test_the_loss_refuses_a_second_derivative():
    prediction, x0 = randn(3, 4).requires_grad_(), randn(3, 4, seed=1)
    loss = ops.diffusion_loss(prediction, x0, torch.tensor([0, 1, 2]), ALPHA_BAR, key=KEY)
    (grad,) = torch.autograd.grad(loss.sum(), prediction, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"genpipe.diffusion_loss is once differentiable"):
        grad.sum().backward()


def test_the_loss_maps_over_batches_as_a_loop_does():
    prediction, x0 = (randn(4, 3, 5, seed=i) for i in range(2))
    t = torch.tensor([[0, 1, 2], [3, 4, 5], [5, 4, 3], [2, 1, 0]])

    def one(prediction, x0, t):
        return ops.diffusion_loss(prediction, x0, t, ALPHA_BAR, key=KEY, first_index=2, prediction_type="velocity")

    loop = torch.stack([one(*slices) for slices in zip(prediction, x0, t, strict=True)])
    torch.testing.assert_close(torch.vmap(one)(prediction, x0, t), loop)


def test_autocast_keeps_the_loss_in_float32():
    prediction, x0, t = randn(3, 400), randn(3, 400, seed=1), torch.tensor([0, 19, 7])
    with torch.autocast("cpu", torch.bfloat16):
        loss = ops.diffusion_loss(prediction.bfloat16().requires_grad_(), x0, t, ALPHA_BAR, key=KEY)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, ops.diffusion_loss(prediction.bfloat16().float(), x0, t, ALPHA_BAR, key=KEY))


def test_strides_of_the_gradient_and_of_the_image_do_not_matter(device):
    x = randn(4, 3, 6, 5, device=device)
    t, table = torch.tensor([0, 5, 19, 1], device=device), ALPHA_BAR.to(device)

    def both(prediction, towards):
        prediction = prediction.detach().requires_grad_()
        loss = ops.diffusion_loss(prediction, x, t, table, key=KEY)
        return loss, torch.autograd.grad(loss, prediction, towards)[0]

    loss, grad = both(2 * x, torch.full((4,), 0.5, device=device))
    for view in layouts(2 * x).values():
        again = both(view, torch.full((), 0.5, device=device).expand(4))
        assert torch.equal(again[0], loss)
        assert torch.equal(again[1], grad)
