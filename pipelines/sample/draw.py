"""Drawing from a model in batches, each example a function of (seed, its index) alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from genpipe.errors import UsageError
from genpipe.model import Model, Sampler


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What a stream of samples is made with; enough to go on where it ended.

    num_classes: how many labels are asked for in turn, None for no labels.
    """

    seed: int
    sampler: Sampler
    num_classes: int | None = None

    def labels(self, first: int, num: int) -> Tensor | None:
        """Labels (num,) of samples first, first + 1, …: every class in turn."""
        if self.num_classes is None:
            return None
        return torch.arange(first, first + num) % self.num_classes

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, path: Path) -> Drawing:
        fields = json.loads(path.read_text())
        return cls(**{**fields, "sampler": Sampler(**fields["sampler"])})


def plan_drawing(model: Model, seed: int, sampler: Sampler, labels: bool) -> Drawing:
    """A drawing, once the model is known to be able to do it."""
    model.need("sample")
    num_classes = None
    if labels:
        if not model.family.conditional:
            raise UsageError(f"sample.labels: family '{model.family.name}' takes no labels")
        num_classes = model.spec.num_classes
        if num_classes is None:
            raise UsageError(f"sample.labels: data set '{model.spec.name}' has no labels")
    return Drawing(seed=seed, sampler=model.choose_sampler(sampler), num_classes=num_classes)


def draw(model: Model, drawing: Drawing, first: int, stop: int, batch_size: int) -> Iterator[Tensor]:
    """Batches of samples first … stop − 1, on the CPU, in data units."""
    for start in range(first, stop, batch_size):
        num = min(batch_size, stop - start)
        y = drawing.labels(start, num)
        yield model.sample(num, y, seed=drawing.seed, first_index=start, sampler=drawing.sampler).cpu()
