"""The keyed permutation: a bijection for every n and key, and as good as one drawn at random."""

from __future__ import annotations

import math
from itertools import pairwise, permutations

import pytest
import torch

from genpipe import ops
from genpipe.ops import reference

SIZES = [1, 2, 3, 4, 5, 15, 16, 17, 100, 1023, 65535, 65536, 65537, 90_000]


@pytest.mark.parametrize("n", SIZES)
def test_every_number_comes_once(n, device):
    for seed in range(3):
        images = ops.permutation(ops.key(seed, "p"), n, device=device)
        assert torch.equal(images.sort().values, torch.arange(n, device=device))


@pytest.mark.parametrize("n", [1, 2, 3, 7, 64, 1000, 65536, 2**31 + 1, 2**62 + 3, 2**63 - 1])
def test_images_are_the_references(n, device):
    for start in {0, n // 2, max(0, n - 20)}:
        count = min(20, n - start)
        images = ops.permutation(ops.key(7, "p"), n, start=start, count=count, device=device).cpu()
        assert torch.equal(images, reference.permutation(ops.key(7, "p"), n, start=start, count=count))


def test_any_part_is_that_of_the_whole(device):
    key = ops.key(1, "parts")
    for n in (0, 1, 77, 70_000):
        whole = ops.permutation(key, n, device=device)
        assert len(whole) == n
        cuts = sorted({0, n // 3, n // 3 + 1, n // 2, n} & set(range(n + 1)))
        parts = [ops.permutation(key, n, start=a, count=b - a, device=device) for a, b in pairwise(cuts)]
        assert torch.equal(torch.cat([whole[:0], *parts]), whole)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_small_permutations_are_equally_likely(n):
    count = 20_000
    orders = {order: i for i, order in enumerate(permutations(range(n)))}
    drawn = torch.tensor([orders[tuple(ops.permutation(ops.key(s, "small"), n).tolist())] for s in range(count)])
    expected = count / len(orders)
    chi_squared = ((drawn.bincount(minlength=len(orders)) - expected) ** 2 / expected).sum().item()
    degrees = len(orders) - 1
    assert (chi_squared - degrees) / math.sqrt(2 * degrees) < 5


@pytest.mark.parametrize("n", [50, 1000, 70_000])
def test_large_permutations_look_random(n):
    fixed, climbs, cycles, correlation = [], [], [], []
    for seed in range(40):
        images = ops.permutation(ops.key(seed, "large"), n)
        fixed.append((images == torch.arange(n)).sum().item())
        climbs.append((images[1:] > images[:-1]).sum().item())
        correlation.append(torch.corrcoef(torch.stack([images, torch.arange(n)]).double())[0, 1].item())
        if n <= 1000:
            cycles.append(number_of_cycles(images.tolist()))
    runs = len(fixed)
    assert abs(sum(fixed) - runs) < 5 * math.sqrt(runs)  # fixed points are close to Poisson of mean 1
    assert abs(sum(climbs) / runs - (n - 1) / 2) < 5 * math.sqrt((n + 1) / 12 / runs)  # Eulerian
    assert abs(sum(correlation) / runs) < 5 / math.sqrt(n * runs)
    if cycles:
        mean = sum(1 / k for k in range(1, n + 1))
        assert abs(sum(cycles) / runs - mean) < 5 * math.sqrt(mean / runs)


def number_of_cycles(images: list[int]) -> int:
    seen, cycles = [False] * len(images), 0
    for start in range(len(images)):
        cycles += not seen[start]
        while not seen[start]:
            seen[start] = True
            start = images[start]
    return cycles


def test_the_places_of_a_number_are_uniform_over_keys():
    n, keys = 97, 4000
    for index in (0, 50, 96):
        drawn = [ops.permutation(ops.key(seed, "places"), n, start=index, count=1).item() for seed in range(keys)]
        counts = torch.tensor(drawn).bincount(minlength=n).double()
        chi_squared = ((counts - keys / n) ** 2 / (keys / n)).sum().item()
        assert (chi_squared - (n - 1)) / math.sqrt(2 * (n - 1)) < 5


def test_streams_permute_differently():
    first, second = (ops.permutation(ops.key(0, stream), 1000) for stream in ("a", "b"))
    assert (first == second).sum() < 10
