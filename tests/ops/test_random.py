"""The random numbers: their numbers, their distribution, and that nothing but their arguments matters."""

from __future__ import annotations

import math

import pytest
import torch

from genpipe import ops
from genpipe.ops import reference
from tests.ops.cases import DTYPES, EVENTS, layouts, randn

KEY = ops.key(20240607, "tests")


@pytest.mark.parametrize("event", EVENTS, ids=str)
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_numbers_are_the_references(rows, event, device):
    shape = (rows, *event)
    expected = reference.normal(KEY, shape, first_index=11)
    double = ops.normal(KEY, shape, first_index=11, dtype=torch.float64, device=device).cpu()
    torch.testing.assert_close(double, expected, rtol=1e-13, atol=1e-13)
    single = ops.normal(KEY, shape, first_index=11, device=device).cpu()
    # A float32 uniform is coarse next to 1, where the radius is its root: the same draw, but for the smallest radii.
    error = (single.double() - expected).abs()
    assert (error < 3e-4).all()
    assert error.numel() == 0 or error.median() < 1.5e-7
    half = ops.normal(KEY, shape, first_index=11, dtype=torch.bfloat16, device=device).cpu()
    assert torch.equal(half, single.bfloat16())

    expected = reference.uniform(KEY, shape, first_index=11)
    double = ops.uniform(KEY, shape, first_index=11, dtype=torch.float64, device=device).cpu()
    assert torch.equal(double, expected)
    single = ops.uniform(KEY, shape, first_index=11, device=device).cpu()
    assert torch.equal(single.double(), (double * 2**24).floor() / 2**24)
    half = ops.uniform(KEY, shape, first_index=11, dtype=torch.bfloat16, device=device).cpu()
    assert torch.equal(half.double(), (double * 2**8).floor() / 2**8)

    expected = reference.gumbel(KEY, shape, first_index=11)
    double = ops.gumbel(KEY, shape, first_index=11, dtype=torch.float64, device=device).cpu()
    torch.testing.assert_close(double, expected, rtol=1e-13, atol=1e-13)
    single = ops.gumbel(KEY, shape, first_index=11, device=device).cpu()
    # 31 bits of u instead of 52: the same draw, but for u close to an end.
    error = (single.double() - expected).abs()
    assert (error < 1e-3).all()
    assert error.numel() == 0 or error.median() < 1.5e-7
    half = ops.gumbel(KEY, shape, first_index=11, dtype=torch.bfloat16, device=device).cpu()
    assert torch.equal(half, single.bfloat16())

    signs = reference.rademacher(KEY, shape, first_index=11)
    for dtype in DTYPES:
        found = ops.rademacher(KEY, shape, first_index=11, dtype=dtype, device=device).cpu()
        assert torch.equal(found.double(), signs)
        probs = randn(*shape, dtype=dtype).sigmoid()
        found = ops.bernoulli(KEY, probs.to(device), first_index=11).cpu()
        assert torch.equal(found, reference.bernoulli(KEY, probs, first_index=11))

    integers = ops.randint(KEY, 1000, shape, first_index=11, device=device).cpu()
    assert torch.equal(integers, reference.randint(KEY, 1000, shape, first_index=11))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_number_of_threads_does_not_matter(dtype):
    threads = torch.get_num_threads()
    try:
        results = []
        for num in (1, 2, 3):
            torch.set_num_threads(num)
            results.append(ops.normal(KEY, (37, 1111), dtype=dtype))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_thirty_runs_are_the_same_bits():
    first = ops.normal(KEY, (64, 1000))
    assert all(torch.equal(ops.normal(KEY, (64, 1000)), first) for _ in range(30))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_normals_are_standard_normal(dtype, device):
    n = 2**20
    z = ops.normal(KEY, (4, n // 4), dtype=dtype, device=device).cpu().double().ravel()
    for power, moment in enumerate((0, 1, 0, 3, 0, 15), start=1):
        spread = math.sqrt((math.prod(range(1, 2 * power, 2)) - moment**2) / n)
        assert abs(z.pow(power).mean().item() - moment) < 5 * spread
    assert kolmogorov_distance(torch.special.ndtr(z)) < 1.95 / math.sqrt(n)  # the 0.1 % critical value
    # Elements of a block, and of neighbouring blocks and samples, share no words that would correlate them.
    for lag in (1, 2, 3, 4, n // 4):
        assert abs((z[lag:] * z[:-lag]).mean().item()) < 5 / math.sqrt(n)


def test_uniforms_are_uniform(device):
    n = 2**20
    u = ops.uniform(KEY, (4, n // 4), device=device).cpu().double().ravel()
    assert u.min() >= 0
    assert u.max() < 1
    assert kolmogorov_distance(u) < 1.95 / math.sqrt(n)


def test_integers_fill_their_range_evenly(device):
    n, high = 2**18, 7
    counts = ops.randint(KEY, high, (n, 1), device=device).cpu().ravel().bincount(minlength=high).double()
    assert len(counts) == high
    chi_squared = ((counts - n / high) ** 2 / (n / high)).sum().item()
    assert chi_squared < 22.46  # the 0.1 % critical value for 6 degrees of freedom
    assert ops.randint(KEY, 2**62, (1000,), device=device).max() > 2**61
    assert (ops.randint(KEY, 1, (100,), device=device) == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gumbels_follow_their_distribution(dtype, device):
    n = 2**20
    g = ops.gumbel(KEY, (4, n // 4), dtype=dtype, device=device).cpu().double().ravel()
    assert kolmogorov_distance((-(-g).exp()).exp()) < 1.95 / math.sqrt(n)
    assert abs(g.mean().item() - 0.5772156649) < 5 * math.pi / math.sqrt(6 * n)
    # The upper tail, where 1 - u would have lost its digits in float32: P(G > g) = 1 - exp(-exp(-g)).
    for count in (10, 100, 1000):
        level = -math.log(count / n)
        assert abs((g > level).sum().item() - count) < 5 * math.sqrt(count)


def test_the_largest_of_logits_and_gumbels_is_drawn_from_softmax(device):
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0])
    n = 2**18
    drawn = (logits + ops.gumbel(KEY, (n, 4), device=device).cpu()).argmax(1).bincount(minlength=4)
    expected = logits.softmax(0).double() * n
    assert ((drawn - expected) ** 2 / expected).sum() < 16.27  # the 0.1 % critical value for 3 degrees of freedom


def test_signs_are_fair_and_independent(device):
    n = 2**20
    signs = ops.rademacher(KEY, (4, n // 4), device=device).cpu().ravel()
    assert (signs.abs() == 1).all()
    assert abs(signs.mean().item()) < 5 / math.sqrt(n)
    for lag in (1, 2, 3, 4, n // 4):
        assert abs((signs[lag:] * signs[:-lag]).mean().item()) < 5 / math.sqrt(n)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_bernoullis_hit_their_probability(dtype, device):
    n = 2**20
    for p in (1e-5, 0.1, 0.5, 0.999):
        hits = ops.bernoulli(KEY, torch.full((4, n // 4), p, dtype=dtype, device=device)).sum().item()
        assert abs(hits - n * p) < 5 * math.sqrt(n * p * (1 - p))
    certain = torch.tensor([0.0, 1.0], dtype=dtype, device=device).expand(n // 2, 2)
    assert torch.equal(ops.bernoulli(KEY, certain), certain)
    invalid = torch.tensor([-1e-30, 1.0001, math.nan, math.inf], dtype=dtype, device=device)
    assert ops.bernoulli(KEY, invalid).isnan().all()


def test_bernoulli_takes_any_layout_and_gives_no_gradient(device):
    probs = randn(3, 4, 5, 6).sigmoid().to(device)
    for name, view in layouts(probs).items():
        assert torch.equal(ops.bernoulli(KEY, view), ops.bernoulli(KEY, view.contiguous())), name
    assert not ops.bernoulli(KEY, probs.requires_grad_()).requires_grad


def test_streams_and_seeds_do_not_share_numbers():
    base = ops.normal(ops.key(0, "a"), (1, 1000))
    for other in (ops.key(0, "b"), ops.key(1, "a"), ops.key(0, 0)):
        z = ops.normal(other, (1, 1000))
        assert not torch.isin(z, base).any()
        assert abs((z * base).mean()) < 0.2


def kolmogorov_distance(u):
    u = u.sort().values
    grid = torch.arange(len(u) + 1, dtype=torch.float64) / len(u)
    return max((grid[1:] - u).max().item(), (u - grid[:-1]).max().item())
