"""Reads scikit-learn's digits (Alpaydin & Kaynak, 1998: optical recognition of handwritten digits, UCI)."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from genpipe.data import RawData
from genpipe.dataspec import DataSpec
from genpipe.plugins.digits.config import DigitsConfig


def build(config: DigitsConfig, seed: int) -> RawData:
    """x: (N, 1, 8, 8) uint8, levels 0 … 16, bright strokes on black; y: (N,), the digit. The seed has no part."""
    bunch = load_digits()
    spec = DataSpec(
        name="digits",
        event="image",
        shape=(1, 8, 8),
        levels=17,
        num_classes=10,
        class_names=tuple(str(d) for d in range(10)),
    )
    x, y = bunch.images.astype(np.uint8)[:, None], bunch.target.astype(np.int64)
    return RawData(spec, x[: config.limit], y[: config.limit])
