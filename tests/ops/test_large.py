"""Tensors of more than 2³¹ elements: offsets are 64 bits wide."""

from __future__ import annotations

import pytest
import torch

from genpipe import ops

pytestmark = pytest.mark.slow

COLUMNS = 2**30 + 24  # two rows are more than 2³¹ elements, 4 GiB in bfloat16
KEY = ops.key(4, "large")


@pytest.fixture(scope="module")
def x(device):
    return ops.normal(KEY, (2, COLUMNS), dtype=torch.bfloat16, device=device)


def row(x, index):
    return x[index : index + 1]


def test_random_numbers(x):
    assert torch.equal(row(x, 1), ops.normal(KEY, (1, COLUMNS), first_index=1, dtype=torch.bfloat16, device=x.device))


def test_the_forward_process(x):
    table = torch.linspace(0.9, 0.1, 5, dtype=torch.float64, device=x.device)
    t = torch.tensor([1, 3], device=x.device)
    whole = ops.q_sample(x, t, table, key=KEY, first_index=5)
    second = ops.q_sample(row(x, 1), t[1:], table, key=KEY, first_index=6)
    assert torch.equal(row(whole, 1), second)


def test_sums_over_rows(x):
    nll = ops.bernoulli_nll(x, x)
    assert torch.equal(nll[1:], ops.bernoulli_nll(row(x, 1), row(x, 1)))
    # softplus(z) − z², of a standard normal: 0.8060 − 1.
    assert nll[1].item() / COLUMNS == pytest.approx(-0.1940, abs=1e-3)


def test_one_row(x):
    flat = x.view(1, -1)
    assert ops.gaussian_nll(flat, flat, flat).item() == pytest.approx(2 * COLUMNS * 0.918939, rel=1e-4)
