"""The digits are scikit-learn's, in their own units."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from genpipe.plugins.digits.config import DigitsConfig
from genpipe.plugins.digits.data import build


def test_digits_are_scikit_learns() -> None:
    raw, bunch = build(DigitsConfig(), 0).checked(), load_digits()
    assert raw.x.shape == (1797, 1, 8, 8)
    assert raw.x.dtype == np.uint8
    np.testing.assert_array_equal(raw.x.reshape(1797, 64), bunch.data)
    np.testing.assert_array_equal(raw.y, bunch.target)
    assert raw.spec.levels == 17
    assert raw.x.max() == 16
    assert raw.spec.class_names[3] == "3"


def test_a_limit_keeps_the_first() -> None:
    raw = build(DigitsConfig(limit=7), 0)
    np.testing.assert_array_equal(raw.x, build(DigitsConfig(), 0).x[:7])
    assert raw.y.tolist() == [0, 1, 2, 3, 4, 5, 6]
