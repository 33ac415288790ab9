"""Moments keep their digits, and shards add up to the whole."""

from __future__ import annotations

import functools

import pytest
import torch

from genpipe import ops
from genpipe.ops import reference
from tests.ops.cases import DTYPES, randn


def merged(features, num_shards):
    return functools.reduce(ops.merge_moments, [ops.moments(part) for part in features.tensor_split(num_shards)])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (300, 17), (700, 600), (20, 90), (5, 0)])
def test_moments_are_those_of_the_definition(dtype, shape, device):
    features = (randn(*shape) + 3).to(device, dtype)
    found, expected = ops.moments(features), reference.moments(features.double().cpu())
    assert found.num == shape[0]
    torch.testing.assert_close(found.mean.cpu(), expected[0], rtol=1e-14, atol=1e-15)
    torch.testing.assert_close(found.m2.cpu(), expected[1], rtol=1e-12, atol=1e-11)
    assert torch.equal(found.m2, found.m2.T)


@pytest.mark.parametrize("num_shards", [2, 64])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_one_shard_agrees_with_many(num_shards, offset, device):
    features = randn(1000, 40, device=device) * torch.linspace(0.1, 3, 40, device=device) + offset
    one, many = ops.moments(features), merged(features, num_shards)
    assert one.num == many.num
    assert (one.mean - many.mean).abs().max() <= 1e-12 * max(1.0, offset)
    assert (one.m2 - many.m2).abs().max() <= 1e-12 * one.m2.diag().max()


def test_data_far_from_the_origin_keep_their_digits(device):
    # Quarters of a small range shift by 2^30 without rounding.
    generator = torch.Generator().manual_seed(0)
    features = torch.randint(-8, 9, (1000, 12), generator=generator).to(device, torch.float64) / 4
    near, far = ops.moments(features), ops.moments(features + 2.0**30)
    torch.testing.assert_close(far.m2, near.m2, rtol=1e-10, atol=1e-10)
    assert (far.mean - 2.0**30 - near.mean).abs().max() < 2e-7


def test_no_rows_are_nothing_to_merge(device):
    some, none = ops.moments(randn(30, 4, device=device)), ops.moments(randn(0, 4, device=device))
    assert none.num == 0
    assert none.m2.shape == (4, 4)
    for union in (ops.merge_moments(some, none), ops.merge_moments(none, some)):
        assert union.num == 30
        assert torch.equal(union.mean, some.mean)
        assert torch.equal(union.m2, some.m2)
    assert ops.merge_moments(none, none).mean.tolist() == [0] * 4


def test_what_is_not_a_number_stays_so(device):
    features = randn(300, 3, device=device)
    features[270, 1] = torch.nan
    mean = ops.moments(features).mean
    assert mean.isnan().tolist() == [False, True, False]


def test_centring_rounds_once_and_gives_the_norms_before(device):
    x, centre = randn(5, 300, device=device), randn(300, dtype=torch.float64, seed=1, device=device)
    for dtype in DTYPES:
        out, squares = torch.ops.genpipe.centre_rows(x, centre, 0.5, dtype)
        expected, expected_squares = reference.centre_rows(x.double(), centre, 0.5)
        assert torch.equal(out, expected.to(torch.float32).to(dtype) if dtype == torch.bfloat16 else expected.to(dtype))
        torch.testing.assert_close(squares, expected_squares, rtol=1e-14, atol=0)
