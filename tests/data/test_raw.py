"""Examples that contradict their description: where, what was given, what was expected, and the remedy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from genpipe.data import RawData
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError

IMAGES: dict[str, Any] = {"name": "pictures", "event": "image", "shape": (1, 2, 2)}


@pytest.mark.parametrize(
    ("spec", "value", "message"),
    [
        ({"levels": 17}, 255, r"values in \[0, 255\], expected 0 … 16; first at 3; levels would have to be 256"),
        ({"levels": 17}, -1, r"values in \[-1, 0\], expected 0 … 16; first at 3; levels are of values from 0 on"),
        ({"levels": 17}, 0.5, "values are not whole, but levels is 17: real numbers have low and high"),
        ({"low": 0.0, "high": 1.0}, 255, r"expected \[0.0, 1.0\]; first at 3; low and high would have to be 0 and 255"),
        ({"low": 0.0, "high": 1.0}, float("nan"), "1 of 5 examples have NaN or infinity, first at 3; leave them out"),
        ({"low": 0.0, "high": 1.0}, float("-inf"), "1 of 5 examples have NaN or infinity, first at 3; leave them out"),
    ],
)
def test_an_example_that_contradicts_the_description_is_told_with_what_would_have_to_be_so(
    spec: dict[str, Any], value: float, message: str
) -> None:
    x = np.zeros((5, 1, 2, 2), dtype=np.int64 if isinstance(value, int) and "levels" in spec else np.float64)
    x[3, 0, 1, 1] = value
    with pytest.raises(DataError, match=f"data set 'pictures': .*{message}"):
        RawData(DataSpec(**IMAGES, **spec), x).checked()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"low": 0.0}, "low is 0.0 and high None, expected both or none"),
        ({"low": 1.0, "high": 1.0}, "low is 1.0 and high 1.0, expected low below high"),
        ({"low": 0.0, "high": float("inf")}, "expected low below high"),
        ({"levels": 1}, "levels is 1, expected at least 2"),
        ({"levels": 4, "num_classes": 0}, "num_classes is 0, expected 1 or more"),
    ],
)
def test_a_description_that_contradicts_itself_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"data set 'pictures': .*{message}"):
        DataSpec(**IMAGES, **fields)
