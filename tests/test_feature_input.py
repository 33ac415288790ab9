"""What networks of feature extractors are fed is checked, and near [-1, 1]."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.feature_input import FeatureInput, check_range, read

BYTES = DataSpec(name="bytes", event="image", shape=(1, 1, 2), levels=256)
REAL = DataSpec(name="real", event="image", shape=(1, 1, 2), low=0.0, high=10.0)


def test_integers_go_to_the_middle_of_their_bin() -> None:
    z = FeatureInput(BYTES)(torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 1, 1, 2))
    assert z.flatten().tolist() == pytest.approx([-255 / 256, 255 / 256])
    assert z.dtype == torch.float32


def test_a_sequence_of_few_levels_is_one_hot_and_of_many_a_quantity() -> None:
    few = FeatureInput(DataSpec(name="letters", event="sequence", shape=(3,), levels=4))
    assert few.shape == (4, 3)
    assert few(torch.tensor([[3, 0, 3]], dtype=torch.uint8))[0].argmax(dim=0).tolist() == [3, 0, 3]
    many = FeatureInput(DataSpec(name="tokens", event="sequence", shape=(3,), levels=1000))
    assert many(torch.tensor([[0, 500, 999]], dtype=torch.int32)).shape == (1, *many.shape) == (1, 1, 3)


def test_a_vector_is_standardised_by_its_own_columns() -> None:
    spec = DataSpec(name="points", event="vector", shape=(2,), mean=(1.0, 100.0), std=(2.0, 50.0))
    assert FeatureInput(spec)(torch.tensor([[3.0, 50.0]])).tolist() == [[1, -1]]


def test_values_beyond_the_range_are_refused_and_rounding_is_not() -> None:
    check_range(torch.tensor([0.0, 10.000001]), REAL)
    check_range(torch.empty(0), REAL)
    for x in (torch.full((1, 1, 1, 2), 10.1), torch.full((1, 1, 1, 2), -0.1)):
        with pytest.raises(DataError, match=r"expected \[0, 10\]: the range of data set 'real'"):
            FeatureInput(REAL)(x)


@pytest.mark.parametrize("examples", [np.arange(6, dtype=np.uint8), torch.arange(6, dtype=torch.uint8)])
def test_what_is_read_is_a_copy_of_its_own_type(examples) -> None:
    part = read(examples, np.array([1, 4]))
    assert part.tolist() == [1, 4]
    assert part.dtype == torch.uint8
    part += 1
    assert int(examples[1]) == 1
