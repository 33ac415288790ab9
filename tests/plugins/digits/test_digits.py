"""The digits are scikit-learn's, in their own units."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from genpipe.plugins.digits import stacked
from genpipe.plugins.digits.config import DigitsConfig, StackedDigitsConfig
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


def test_stacked_digits_show_a_digit_in_each_channel_and_are_classed_by_all_three() -> None:
    raw, digits = stacked.build(StackedDigitsConfig(num_examples=3000), 0).checked(), build(DigitsConfig(), 0)
    assert raw.x.shape == (3000, 3, 8, 8)
    assert raw.spec.num_classes == 1000
    assert raw.spec.class_names[42] == "042"
    known = {image.tobytes(): int(label) for image, label in zip(digits.x, digits.y, strict=True)}
    for x, y in zip(raw.x[:50], raw.y[:50], strict=True):
        assert [known[channel.tobytes()] for channel in x] == [int(digit) for digit in f"{y:03d}"]
    assert len(np.unique(raw.y)) > 900


def test_a_stacked_digit_is_a_function_of_seed_and_place() -> None:
    few, many = (stacked.build(StackedDigitsConfig(num_examples=num), 1) for num in (10, 20))
    np.testing.assert_array_equal(few.x, many.x[:10])
    assert (stacked.build(StackedDigitsConfig(num_examples=10), 2).x != few.x).any()
