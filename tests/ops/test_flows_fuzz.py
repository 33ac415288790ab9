"""Splines of shapes, numbers of bins, bounds and sizes of parameters that nobody thought of."""

from __future__ import annotations

import pytest
import torch

from genpipe import ops
from genpipe.ops import reference
from tests.ops.cases import randn

pytest.importorskip("hypothesis")

from hypothesis import given, settings
from hypothesis import strategies as st


@given(
    rows=st.integers(0, 5),
    columns=st.integers(0, 300),
    bins=st.integers(1, 12),
    bound=st.sampled_from([0.1, 1.0, 5.0, 1e4]),
    scale=st.sampled_from([0.0, 1.0, 5.0]),
    least=st.sampled_from([1e-4, 1e-2, 0.05]),
    inverse=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=80, deadline=None)
def test_a_spline_of_any_kind_is_its_reference_and_splits_by_rows(
    rows, columns, bins, bound, scale, least, inverse, dtype, seed
):
    x = bound * randn(rows, columns, dtype=dtype, seed=seed)
    params = scale * randn(rows, columns, 3 * bins - 1, dtype=dtype, seed=seed + 1)
    options = {"bound": bound, "inverse": inverse, "min_width": least, "min_height": least, "min_derivative": least}
    y, log_det = ops.rational_quadratic_spline(x, params, **options)
    expected, expected_log_det = reference.rational_quadratic_spline(x.double(), params.double(), **options)
    # Slopes lie between least and 1 / least, and so does what they make of a rounding of the bound.
    eps = 64 * torch.finfo(dtype).eps / least
    torch.testing.assert_close(y.double(), expected, rtol=eps, atol=eps * bound)
    torch.testing.assert_close(log_det.double(), expected_log_det, rtol=eps, atol=eps / least * max(columns, 1))
    half = rows // 2
    parts = [
        ops.rational_quadratic_spline(x[part], params[part], **options) for part in (slice(half), slice(half, None))
    ]
    assert torch.equal(y, torch.cat([part[0] for part in parts]))
    assert torch.equal(log_det, torch.cat([part[1] for part in parts]))
