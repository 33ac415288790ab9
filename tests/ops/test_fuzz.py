"""Shapes, indices and splits that nobody thought of."""

from __future__ import annotations

import pytest
import torch

from genpipe import ops
from genpipe.ops import reference
from tests.ops.cases import DTYPES, randn

pytest.importorskip("hypothesis")

from hypothesis import given, settings
from hypothesis import strategies as st

KEY = ops.key(2, "fuzz")


@given(
    rows=st.integers(1, 6),
    columns=st.integers(1, 90),
    first_index=st.integers(0, 2**40),
    split=st.integers(0, 6),
    seed=st.integers(-(2**63), 2**63 - 1),
    stream=st.integers(0, 2**63 - 1),
)
@settings(max_examples=60, deadline=None)
def test_any_split_of_a_batch_gives_its_samples(rows, columns, first_index, split, seed, stream):
    key = ops.key(seed, stream)
    split = min(split, rows)
    for draw in (ops.normal, ops.uniform, ops.gumbel, ops.rademacher):
        for dtype in DTYPES:
            whole = draw(key, (rows, columns), first_index=first_index, dtype=dtype)
            head = draw(key, (split, columns), first_index=first_index, dtype=dtype)
            tail = draw(key, (rows - split, columns), first_index=first_index + split, dtype=dtype)
            assert torch.equal(whole, torch.cat([head, tail]))
    probs = ops.uniform(key, (rows, columns), first_index=first_index + 1)
    whole = ops.bernoulli(key, probs, first_index=first_index)
    head = ops.bernoulli(key, probs[:split], first_index=first_index)
    tail = ops.bernoulli(key, probs[split:], first_index=first_index + split)
    assert torch.equal(whole, torch.cat([head, tail]))


@given(
    rows=st.integers(0, 5),
    columns=st.integers(0, 700),
    seed=st.integers(0, 1000),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
)
@settings(max_examples=60, deadline=None)
def test_row_sums_hold_for_any_shape_and_split(rows, columns, seed, scale):
    a, b, c = (scale * randn(rows, columns, seed=seed + i) for i in range(3))
    b = b.clamp(-10, 10)
    exact = [tensor.double() for tensor in (a, b, c)]
    bernoulli, (z, kl) = ops.bernoulli_nll(a, c.sigmoid()), ops.gaussian_reparam(a, b, KEY, seed)
    size = max(1.0, columns * (1 + scale**2)) * 1e-5
    torch.testing.assert_close(
        bernoulli.double(), reference.bernoulli_nll(exact[0], c.sigmoid().double()), rtol=3e-6, atol=size
    )
    half = rows // 2
    head = ops.gaussian_reparam(a[:half], b[:half], KEY, seed)
    tail = ops.gaussian_reparam(a[half:], b[half:], KEY, seed + half)
    assert torch.equal(z, torch.cat([head[0], tail[0]]))
    assert torch.equal(kl, torch.cat([head[1], tail[1]]))
