"""The masked convolution against conv2d with zeros, and what an autoregressive network needs of it."""

from __future__ import annotations

import pytest
import torch

from genpipe import ops
from genpipe.ops import reference
from genpipe.ops.masked_conv import MASK_TYPES
from tests.ops.cases import layouts, randn

pytest.importorskip("hypothesis")

from hypothesis import given, settings
from hypothesis import strategies as st

EVERY_MASK = pytest.mark.parametrize("mask_type", MASK_TYPES)


def operands(batch, channels, out, height, width, kernel, dtype=torch.float64):
    shapes = [(batch, channels, height, width), (out, channels, *kernel), (out,)]
    return [randn(*shape, dtype=dtype, seed=i).requires_grad_() for i, shape in enumerate(shapes)]


def both_ways(conv, operands, **options):
    """The output and the gradients of everything."""
    out = conv(*operands, **options)
    return out.detach(), *torch.autograd.grad(out, operands, randn(*out.shape, dtype=out.dtype, seed=9))


def assert_like_the_reference(operands, rtol=1e-12, **options):
    actual = both_ways(ops.masked_conv2d, operands, **options)
    expected = both_ways(reference.masked_conv2d, [x.detach().double().requires_grad_() for x in operands], **options)
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=rtol, atol=rtol * (1 + b.abs().max().item()))


@given(
    batch=st.integers(0, 3),
    groups=st.integers(1, 3),
    channels=st.integers(1, 9),
    out=st.integers(1, 23),
    height=st.integers(1, 12),
    width=st.integers(1, 67),
    kernel=st.tuples(st.sampled_from([1, 3, 5, 7]), st.sampled_from([1, 3, 5])),
    mask_type=st.sampled_from(MASK_TYPES),
    dilation=st.sampled_from([1, 2, 3, 50]),
)
@settings(max_examples=80, deadline=None)
def test_any_shape_equals_conv2d_with_zeros(batch, groups, channels, out, height, width, kernel, mask_type, dilation):
    tensors = operands(batch, groups * channels, groups * out, height, width, kernel)
    if batch:
        assert_like_the_reference(tensors, mask_type=mask_type, channel_groups=groups, dilation=dilation)
    else:
        for x in both_ways(ops.masked_conv2d, tensors, mask_type=mask_type, channel_groups=groups)[1:]:
            assert not x.any()


# Several strips, chunks of sources, slabs of outputs and pieces of a row.
@pytest.mark.parametrize(
    ("channels", "out", "height", "width", "kernel"),
    [(70, 70, 9, 30, (3, 3)), (70, 140, 3, 240, (3, 3)), (1, 64, 28, 28, (7, 7)), (256, 6, 20, 40, (1, 3))],
)
def test_large_shapes_equal_conv2d_with_zeros(channels, out, height, width, kernel):
    assert_like_the_reference(operands(2, channels, out, height, width, kernel), mask_type="B")


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 2e-6), (torch.bfloat16, 5e-3)])
def test_lower_precisions_are_right_to_their_rounding(dtype, rtol):
    tensors = [x.detach().to(dtype).requires_grad_() for x in operands(3, 24, 20, 9, 11, (3, 3))]
    assert_like_the_reference(tensors, rtol=rtol, mask_type="A", channel_groups=2)


@EVERY_MASK
def test_gradients_are_those_of_finite_differences(mask_type):
    x, weight, bias = operands(2, 4, 6, 3, 4, (3, 3))
    options = {"mask_type": mask_type, "channel_groups": 2, "dilation": 2}
    assert torch.autograd.gradcheck(lambda *args: ops.masked_conv2d(*args, **options), (x, weight, bias))
    assert torch.autograd.gradcheck(lambda x, w: ops.masked_conv2d(x, w, **options), (x, weight))


@pytest.mark.parametrize("mask_type", ["A", "B"])
@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("kernel", [(3, 3), (5, 3), (1, 5)])
def test_the_jacobian_is_triangular(mask_type, groups, dilation, kernel):
    """In raster order with the channel groups innermost: strictly lower for A, lower for B."""
    height, width = 4, 5
    x, weight, _ = operands(1, groups * 2, groups * 2, height, width, kernel)

    def conv(x):
        return ops.masked_conv2d(x, weight, mask_type=mask_type, channel_groups=groups, dilation=dilation)

    jacobian = torch.autograd.functional.jacobian(conv, x.detach()).reshape(groups, 2, -1, groups, 2, height * width)
    seen = jacobian.abs().amax((1, 4)).permute(1, 0, 3, 2).reshape(height * width * groups, -1)
    assert not seen.triu(0 if mask_type == "A" else 1).any()
    assert seen.any()
    if mask_type == "B":
        assert seen.diagonal().all()


@pytest.mark.parametrize("mask_type", ["vertical_A", "vertical_B"])
def test_the_vertical_stack_sees_rows(mask_type):
    x, weight, _ = operands(1, 2, 3, 5, 4, (3, 5))
    jacobian = torch.autograd.functional.jacobian(
        lambda x: ops.masked_conv2d(x, weight, mask_type=mask_type), x.detach()
    )
    seen = jacobian.abs().amax((0, 1, 3, 4, 5, 7))  # row of the output, row of the input
    assert not seen.triu(0 if mask_type == "vertical_A" else 1).any()
    assert seen.diagonal(-1 if mask_type == "vertical_A" else 0).all()


@EVERY_MASK
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_dead_taps_hold_does_not_matter(mask_type, value):
    x, weight, bias = operands(2, 6, 9, 5, 4, (3, 3))
    options = {"mask_type": mask_type, "channel_groups": 3}
    live = reference.conv_mask(9, 6, (3, 3), **options)
    spoilt = torch.where(live, weight.detach(), value).requires_grad_()
    actual, expected = (both_ways(ops.masked_conv2d, (x, w, bias), **options) for w in (spoilt, weight))
    assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))
    assert not actual[2][~live].any()
    assert actual[2][live].all()


@pytest.mark.parametrize("mask_type", ["A", "B"])
def test_pixels_to_come_do_not_matter_even_as_nan(mask_type):
    x, weight, _ = operands(1, 6, 9, 5, 4, (3, 3))
    spoilt = x.detach().clone()
    spoilt[:, :, 3:] = spoilt[:, :, 2, 2:] = float("nan")
    spoilt[:, 2:, 2, 1] = float("nan")  # green and blue of the pixel at hand
    actual, expected = (ops.masked_conv2d(y, weight, mask_type=mask_type, channel_groups=3) for y in (spoilt, x))
    known = 6 if mask_type == "A" else 3
    assert torch.equal(actual[:, :, :2], expected[:, :, :2])
    assert torch.equal(actual[:, :known, 2, 1], expected[:, :known, 2, 1])
    assert actual[:, known:, 2, 1].isnan().all()


def test_strides_do_not_matter():
    x, weight, bias = operands(2, 3, 5, 6, 7, (3, 3), torch.float32)
    expected = ops.masked_conv2d(x, weight, bias, mask_type="B")
    for name, view in layouts(x.detach()).items():
        assert torch.equal(ops.masked_conv2d(view, weight, bias, mask_type="B"), expected), name


def test_samples_do_not_depend_on_their_batch():
    x, weight, bias = operands(5, 12, 10, 9, 14, (3, 3), torch.float32)
    whole = ops.masked_conv2d(x, weight, bias, mask_type="B")
    for i in range(5):
        assert torch.equal(ops.masked_conv2d(x[i : i + 1], weight, bias, mask_type="B"), whole[i : i + 1])


def test_gradients_that_nobody_wants_are_not_made():
    x, weight, bias = (y.detach() for y in operands(2, 3, 4, 5, 6, (3, 3)))
    for wanted in (x, weight, bias):
        wanted.requires_grad_()
        out = ops.masked_conv2d(x, weight, bias, mask_type="A")
        expected = reference.masked_conv2d(x, weight, bias, mask_type="A")
        towards = torch.ones_like(out)
        torch.testing.assert_close(
            torch.autograd.grad(out, wanted, towards), torch.autograd.grad(expected, wanted, towards)
        )
        wanted.requires_grad_(False)
