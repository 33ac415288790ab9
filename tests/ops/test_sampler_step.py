"""A sampler's step and the limit of dynamic thresholding, each against its float64 reference."""

from __future__ import annotations

import math

import pytest
import torch

from genpipe import ops
from genpipe.ops import reference
from tests.ops.cases import DTYPES, EVENTS, layouts, randn

KEY = ops.key(5, "step")
TOLERANCE = {torch.float32: 2e-6, torch.float64: 2e-14, torch.bfloat16: 8e-3}


def coefficients(*, history=0.3, noise=0.2, guidance=2.5, clip=1.0, device="cpu"):
    return torch.tensor([0.7, -0.6, 0.4, 0.5, history, noise, guidance, clip], dtype=torch.float64, device=device)


def tensors(num, event, dtype, device, rows=3):
    return [randn(rows, *event, dtype=dtype, seed=i, device=device) for i in range(num)]


def close(actual, expected, tolerance):
    torch.testing.assert_close(actual.cpu().double(), expected, rtol=tolerance, atol=tolerance)


OPTIONAL = ["unconditional", "history", "noise", "threshold"]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("mask", range(16))
def test_a_step_with_any_of_its_parts_is_its_reference(mask, dtype, device):
    given = [name for i, name in enumerate(OPTIONAL) if mask >> i & 1]
    k = coefficients(
        history=0.3 * ("history" in given),
        noise=0.2 * ("noise" in given),
        guidance=1 + 1.5 * ("unconditional" in given),
    )
    for event in [(1,), (17,), (1025,), (3, 5, 8)]:
        x, prediction, *others = tensors(6, event, dtype, device)
        parts = dict(zip(OPTIONAL, others, strict=True))
        parts["threshold"] = torch.tensor(
            [1.5, 1.0, 2.0], device=device, dtype=torch.promote_types(dtype, torch.float32)
        )
        parts = {name: parts[name] for name in given}
        expected, expected_x0 = reference.sampler_step(
            x.cpu().double(), prediction.cpu().double(), k, **{n: p.cpu().double() for n, p in parts.items()}
        )
        stepped = ops.sampler_step(x, prediction, k, **parts)
        close(stepped, expected, TOLERANCE[dtype])
        assert stepped.dtype == dtype
        x0, out = torch.full_like(x, torch.nan), torch.full_like(x, torch.nan)
        assert ops.sampler_step(x, prediction, k, **parts, out=out, x0_out=x0) is out
        assert torch.equal(out, stepped)
        close(x0, expected_x0, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("event", EVENTS, ids=str)
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_the_noise_of_a_key_is_that_of_its_samples(rows, event, dtype, device):
    x, prediction, unconditional, history = tensors(4, event, dtype, device, rows)
    k = coefficients()
    parts = {"unconditional": unconditional, "history": history}
    stepped = ops.sampler_step(x, prediction, k, **parts, key=KEY, first_index=4)
    wide = torch.promote_types(dtype, torch.float32)
    noise = ops.normal(KEY, x.shape, first_index=4, dtype=wide, device=device)
    if dtype == torch.bfloat16:  # the noise that nobody sees is not rounded
        doubles = (tensor.cpu().double() for tensor in (x, prediction))
        others = {name: part.cpu().double() for name, part in parts.items()}
        close(stepped, reference.sampler_step(*doubles, k, **others, noise=noise.cpu().double())[0], TOLERANCE[dtype])
    else:
        assert torch.equal(stepped, ops.sampler_step(x, prediction, k, **parts, noise=noise))
    if rows == 3:
        last = {name: part[2:] for name, part in parts.items()}
        assert torch.equal(ops.sampler_step(x[2:], prediction[2:], k, **last, key=KEY, first_index=6), stepped[2:])


def test_a_step_in_place_is_the_step(device):
    for event in [(5,), (1300,)]:
        x, prediction, unconditional, history = tensors(4, event, torch.float32, device)
        parts = {"unconditional": unconditional, "key": KEY}
        x0 = torch.empty_like(x)
        expected = ops.sampler_step(x, prediction, coefficients(), **parts, history=history, x0_out=x0)
        ops.sampler_step(x, prediction, coefficients(), **parts, history=history, out=x, x0_out=history)
        assert torch.equal(x, expected)
        assert torch.equal(history, x0)


def test_coefficients_on_the_device_serve_too(device):
    x, prediction, unconditional, history = tensors(4, (37,), torch.float32, device)
    parts = {"unconditional": unconditional, "history": history, "key": KEY}
    steps = [ops.sampler_step(x, prediction, coefficients(device=d), **parts) for d in ("cpu", device)]
    assert torch.equal(*steps)


def test_noise_and_history_without_a_share_are_not_looked_at(device):
    x, prediction = tensors(2, (9,), torch.float32, device)
    k, nan = coefficients(history=0.0, noise=0.0, guidance=1.0), torch.full_like(x, torch.nan)
    expected = ops.sampler_step(x, prediction, k)
    assert torch.equal(ops.sampler_step(x, prediction, k, history=nan, noise=nan), expected)
    assert torch.equal(ops.sampler_step(x, prediction, k, key=KEY), expected)


def test_without_a_clip_nothing_is_clipped_and_nan_is_never_hidden(device):
    x = torch.tensor([[3e38, -3e38, 1e-40, torch.nan, torch.inf]], device=device)
    k = torch.tensor([1.0, 0, 0, 1, 0, 0, 1, math.inf], dtype=torch.float64)
    stepped = ops.sampler_step(x, torch.zeros_like(x), k)
    torch.testing.assert_close(stepped[:, :3], x[:, :3], rtol=0, atol=0)
    assert not stepped[:, 3:].isfinite().any()
    clipped = ops.sampler_step(x[:, :4], torch.zeros_like(x[:, :4]), k.index_fill(0, torch.tensor(7), 2.0))
    assert clipped[0, :2].tolist() == [2, -2]
    assert clipped[0, 3].isnan()


def test_strides_of_images_do_not_matter(device):
    x = randn(4, 3, 6, 5, device=device)
    expected = ops.sampler_step(x, 2 * x, coefficients(history=0.0), unconditional=x, key=KEY)
    for name, view in layouts(x).items():
        stepped = ops.sampler_step(view, layouts(2 * x)[name], coefficients(history=0.0), unconditional=view, key=KEY)
        assert torch.equal(stepped, expected), name


# -- dynamic thresholding ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("columns", [1, 2, 3, 200, 256, 1025, 3001])
def test_the_threshold_is_torch_s_quantile(columns, dtype, device):
    k = coefficients(clip=0.25)
    x, prediction, unconditional = tensors(3, (columns,), dtype, device)
    wide = torch.promote_types(dtype, torch.float32)
    for parts in ({}, {"unconditional": unconditional}):
        plain = k if parts else k.index_fill(0, torch.tensor(6), 1.0)
        # x̂₀ as the op computes it: the quantile then is one of its values, or lies between two.
        x0 = ops.sampler_step(
            x.to(wide),
            prediction.to(wide),
            torch.tensor([*plain.tolist()[:2], 0, 1, 0, 0, float(plain[6]), math.inf], dtype=torch.float64),
            **{name: part.to(wide) for name, part in parts.items()},
        )
        for ratio in (0.0, 0.31, 0.5, 0.995, 1.0):
            actual = ops.dynamic_threshold(x, prediction, plain, **parts, ratio=ratio)
            assert actual.dtype == wide
            expected = reference.dynamic_threshold(x0.cpu().double(), 0.25, ratio)
            torch.testing.assert_close(actual.cpu().double(), expected, rtol=1e-6, atol=0)
        capped = ops.dynamic_threshold(x, prediction, plain, **parts, ratio=1.0, maximum=0.3)
        assert capped.max() <= 0.3 + 1e-7


def test_equal_values_and_extremes_have_quantiles_too(device):
    k = torch.tensor([1.0, 0, 0, 1, 0, 0, 1, 1e-30], dtype=torch.float64)
    x = torch.tensor([[2.0, -2, 2, 2], [0, 0, 0, 0], [1, 1, 3, 3], [1e-38, 3e38, torch.inf, 0]], device=device)
    thresholds = ops.dynamic_threshold(x, torch.zeros_like(x), k, ratio=0.5)
    torch.testing.assert_close(thresholds.cpu(), torch.tensor([2.0, 1e-30, 2.0, 1.5e38]))


def test_thresholding_leaves_every_sample_within_the_clip(device):
    x, prediction = tensors(2, (400,), torch.float32, device)
    k = coefficients(history=0.0, noise=0.0, guidance=1.0)
    threshold = ops.dynamic_threshold(10 * x, prediction, k, ratio=0.9)
    x0 = torch.empty_like(x)
    ops.sampler_step(10 * x, prediction, k, threshold=threshold, x0_out=x0)
    assert x0.abs().max() <= 1 + 1e-6
    share = (x0.abs() > 1 - 1e-6).float().mean(1)
    torch.testing.assert_close(share, torch.full_like(share, 0.1), rtol=0, atol=0.01)
