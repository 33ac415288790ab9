"""Sampling pixel by pixel: against full passes, in distribution, and whatever the batch."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from genpipe import ops
from genpipe.ops import PixelProgram, PixelProgramBuilder
from genpipe.ops.reference import pixelcnn as reference
from tests.ops.cases import randn
from tests.ops.cases.pixelcnn import changed, gated, mixture

KEY = ops.key(5, "pixels")
PROGRAMS = {
    "gated": lambda dtype: gated((1, 6, 5), 4, dtype),
    "gated, wider than a panel": lambda dtype: gated((1, 3, 4), 37, dtype, channels=70),
    "gated, three channels": lambda dtype: gated((3, 4, 5), 5, dtype),
    "mixture": lambda dtype: mixture((1, 5, 6), 17, dtype),
    "mixture, three channels": lambda dtype: mixture((3, 5, 3), 256, dtype, channels=17),
    "one pixel": lambda dtype: gated((1, 1, 1), 2, dtype),
    "one column": lambda dtype: mixture((2, 6, 1), 3, dtype),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", PROGRAMS)
def test_draws_are_those_of_the_reference(name, dtype):
    # With fixed keys: in float32 another order of sums moves a draw once in a million or so.
    program = PROGRAMS[name](dtype)
    drawn = ops.pixelcnn_sample(program, KEY, 7, first_index=2)
    assert torch.equal(drawn, reference.pixelcnn_sample(program, KEY, 7, 2))
    assert drawn.dtype == torch.int64
    assert drawn.shape == (7, *program.image)
    if drawn[0].numel() > 4:
        assert len(drawn.unique()) > 1


def masked_network(image: tuple[int, int, int], levels: int, dtype: torch.dtype):
    """Logits by one convolution over all earlier pixels in a 3×3 window; and its program."""
    channels = image[0]
    weight = 2 * randn(channels * levels, channels, 3, 3, dtype=dtype)
    bias = randn(channels * levels, dtype=dtype, seed=1)
    mask = torch.zeros(weight.shape, dtype=dtype)
    mask[:, :, 0] = mask[:, :, 1, 0] = 1
    mask[:, :, 1, 1] = (torch.arange(channels)[None] < torch.arange(channels * levels)[:, None] // levels).to(dtype)
    builder = PixelProgramBuilder(image, levels)
    builder.conv(builder.image, weight, bias, origin=(1, 1), mask=mask, groups=channels)
    return lambda x: F.conv2d(x, weight * mask, bias, padding=1), builder.build()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_draws_are_those_of_a_full_pass_per_pixel(channels, dtype):
    image, levels = (channels, 5, 4), 6
    network, program = masked_network(image, levels, dtype)
    naive = reference.pixelcnn_sample_naive(network, image, levels, 0, KEY, 40, 3, dtype)
    assert torch.equal(ops.pixelcnn_sample(program, KEY, 40, first_index=3), naive)


def test_small_images_come_as_often_as_their_probability():
    """2×2 binary images: all sixteen against their exact probabilities, chi-square with 15 degrees of freedom."""
    network, program = masked_network((1, 2, 2), 2, torch.float64)
    images = torch.tensor(list(itertools.product(range(2), repeat=4))).view(16, 1, 2, 2)
    log_probs = network(reference.level_value(images, 2, torch.float64)).log_softmax(1)
    probabilities = log_probs.gather(1, images).flatten(1).sum(1).exp()
    torch.testing.assert_close(probabilities.sum(), torch.ones((), dtype=torch.float64))
    num = 16_000
    drawn = ops.pixelcnn_sample(program, KEY, num).flatten(1) @ torch.tensor([8, 4, 2, 1])
    expected = num * probabilities
    assert float(((drawn.bincount(minlength=16) - expected).square() / expected).sum()) < 37.7  # 0.1 %


def test_logistics_come_as_often_as_their_levels_probability():
    """One pixel of a mixture of two, its levels' intervals against the logistic's distribution function."""
    levels, k = 8, 2
    parameters = torch.tensor([0.3, -0.4, -0.5, 0.6, -1.0, -2.0], dtype=torch.float64)
    builder = PixelProgramBuilder((1, 1, 1), levels, num_mixtures=k)
    builder.conv(builder.image, torch.zeros(3 * k, 1, 1, 2, dtype=torch.float64), parameters, origin=(0, 2))
    edges = (torch.arange(1, levels, dtype=torch.float64) - 0.5) * 2 / (levels - 1) - 1
    shares, means, scales = parameters[:k].softmax(0), parameters[k : 2 * k], parameters[2 * k :].exp()
    below = F.pad(((edges[:, None] - means) / scales).sigmoid(), (0, 0, 1, 0))
    below = torch.cat([below, torch.ones(1, k, dtype=torch.float64)])
    expected = 16_000 * (below.diff(dim=0) @ shares)
    drawn = ops.pixelcnn_sample(builder.build(), KEY, 16_000).flatten().bincount(minlength=levels)
    assert float(((drawn - expected).square() / expected).sum()) < 24.4  # 7 degrees of freedom, 0.1 %


@pytest.mark.parametrize("make", [gated, mixture])
def test_a_sample_is_the_same_in_any_batch(make):
    program = make((2, 3, 4), 11, torch.float32)
    whole = ops.pixelcnn_sample(program, KEY, 83, first_index=10)
    for first, num in ((0, 1), (1, 40), (41, 42)):
        assert torch.equal(ops.pixelcnn_sample(program, KEY, num, first_index=10 + first), whole[first : first + num])
    assert not torch.equal(whole[:1], whole[1:2])
    assert not torch.equal(whole, ops.pixelcnn_sample(program, ops.key(6, "pixels"), 83, first_index=10))


def test_many_levels_are_drawn_as_by_the_reference():
    builder = PixelProgramBuilder((1, 2, 2), 5000)
    weight, bias = randn(5000, 1, 1, 1, dtype=torch.float64), randn(5000, dtype=torch.float64, seed=1)
    builder.conv(builder.image, weight, bias, origin=(0, 1))
    program = builder.build()
    assert torch.equal(ops.pixelcnn_sample(program, KEY, 50), reference.pixelcnn_sample(program, KEY, 50))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
@pytest.mark.parametrize("make", [gated, mixture])
def test_extreme_weights_still_give_levels(make, value):
    program = make((2, 3, 3), 4, torch.float32)
    program.weights[::3] = value
    drawn = ops.pixelcnn_sample(program, KEY, 9)
    assert drawn.min() >= 0
    assert drawn.max() < 4


def test_none_of_them_is_an_empty_batch():
    assert ops.pixelcnn_sample(gated((2, 3, 4), 5, torch.float32), KEY, 0).shape == (0, 2, 3, 4)


def test_half_precision_weights_are_widened():
    def build(dtype: torch.dtype) -> PixelProgram:
        builder = PixelProgramBuilder((1, 3, 3), 4)
        builder.conv(builder.image, randn(4, 1, 2, 3).bfloat16().to(dtype), origin=(2, 1))
        return builder.build()

    assert build(torch.bfloat16).weights.dtype == torch.float32
    assert torch.equal(build(torch.bfloat16).weights, build(torch.float32).weights)


@pytest.mark.parametrize(
    ("kernel", "origin", "by_rows"),
    [((1, 1), (0, 0), False), ((1, 2), (0, 0), False), ((2, 1), (0, 0), False), ((1, 2), (0, 1), True)],
)
def test_a_layer_that_reads_ahead_is_refused(kernel, origin, by_rows):
    builder = PixelProgramBuilder((1, 3, 3), 4)
    with pytest.raises(ValueError, match="not yet known"):
        builder.conv(builder.image, randn(4, 1, *kernel), origin=origin, by_rows=by_rows)


def test_a_weight_of_another_shape_is_refused():
    builder = PixelProgramBuilder((3, 3, 3), 4)
    with pytest.raises(ValueError, match=r"shape \(4, 2, 1, 1\) for 3 channels and 1 groups"):
        builder.conv(builder.image, randn(4, 2, 1, 1))


def test_steps_out_of_order_are_refused():
    program = gated((1, 5, 4), 3, torch.float32)
    with pytest.raises(RuntimeError, match="comes after steps of a later group"):
        changed(steps=program.steps.flip(0))
