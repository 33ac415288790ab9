"""What a data set's examples are: shape, units and labels. Plain data that travels with every artifact."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genpipe.components import EventKind
from genpipe.errors import DataError


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """The description that models, metrics and plots rely on.

    event: "image" with shape (C, H, W), "vector" with shape (D,), "sequence" with shape (L,).
    levels: the data are integers 0 … levels−1 (digits 17, 8-bit images 256); None for real values.
    low, high: range of real-valued images; None where the data is unbounded.
    num_classes, class_names: labels y in 0 … num_classes−1; None where there are none.
    mean, std: per dimension (flattened) of the training split, for real-valued vectors; set by the data stage.
    class_fractions: p(y), how often each class is among the training split's labels; set by the data stage.
    """

    name: str
    event: EventKind
    shape: tuple[int, ...]
    levels: int | None = None
    low: float | None = None
    high: float | None = None
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    class_fractions: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.event == "image" and len(self.shape) != 3:
            raise DataError(f"data set '{self.name}': an image has shape (C, H, W), not {self.shape}")
        if self.event in ("vector", "sequence") and len(self.shape) != 1:
            raise DataError(f"data set '{self.name}': a {self.event} has one dimension, not shape {self.shape}")
        if self.levels is not None and self.levels < 2:
            raise DataError(f"data set '{self.name}': levels is {self.levels}, expected at least 2")
        if (self.low is None) != (self.high is None):
            raise DataError(f"data set '{self.name}': low is {self.low} and high {self.high}, expected both or none")
        if self.low is not None and self.high is not None and not -math.inf < self.low < self.high < math.inf:
            raise DataError(f"data set '{self.name}': low is {self.low} and high {self.high}, expected low below high")
        if self.num_classes is not None and self.num_classes < 1:
            raise DataError(f"data set '{self.name}': num_classes is {self.num_classes}, expected 1 or more, or none")
        if self.class_fractions is not None and len(self.class_fractions) != self.num_classes:
            raise DataError(
                f"data set '{self.name}': {len(self.class_fractions)} class_fractions, expected one for each of "
                f"{self.num_classes} classes"
            )

    @property
    def num_dimensions(self) -> int:
        """Numbers in one example."""
        return math.prod(self.shape)

    @property
    def dtype(self) -> str:
        """Numpy name of the type that examples have at rest and in `Model.sample`'s answer."""
        if self.levels is None:
            return "float32"
        return "uint8" if self.levels <= 256 else "int32"

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, path: Path) -> DataSpec:
        return cls.from_dict(json.loads(path.read_text()))

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> DataSpec:
        listed: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        return cls(**listed)
