"""Drawing from a model in batches, each example a function of (seed, its index) alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from genpipe.capabilities import need
from genpipe.errors import GenpipeError, UsageError
from genpipe.model import Model
from genpipe.parallel import Range
from genpipe.persistence import Description, load_model
from genpipe.registry import registry
from genpipe.sampler import Sampler, SamplerChoice, choose_sampler
from genpipe.stores import Site

Array = npt.NDArray[Any]


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


def plan_drawing(model: Description, seed: int, sampler: SamplerChoice, labels: bool) -> Drawing:
    """A drawing, once such a model is known to be able to do it."""
    need(model.family, "sample")
    if labels and not model.conditional:
        raise UsageError(f"sample.labels: this model of family '{model.family.name}' takes no labels")
    chosen = choose_sampler(model.family, sampler)
    return Drawing(seed=seed, sampler=chosen, num_classes=model.spec.num_classes if labels else None)


def draw(model: Model, drawing: Drawing, at: Range) -> Array:
    """Samples of a range, (len(at), *event) in data units and the data's type.

    One call of the model, so that which samples are drawn together, on which rounding may depend, is the caller's
    choice alone. GenpipeError names the first that is not finite.
    """
    y = drawing.labels(at.start, len(at))
    x = model.sample(len(at), y, seed=drawing.seed, first_index=at.start, sampler=drawing.sampler).cpu().numpy()
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = ~np.isfinite(x.reshape(len(x), -1)).all(axis=1)
        raise GenpipeError(
            f"sample {at.start + bad.argmax()} of family '{model.family.name}' has NaN or infinity, as have "
            f"{bad.sum()} of the {len(at)} drawn with it"
        )
    return x.astype(model.spec.dtype, copy=False)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where samples come from, as each process that draws them is told.

    model: its artifact; site: by which other machines find it.
    """

    model: Path
    device: str
    drawing: Drawing
    site: Site | None = None


def drawer(source: Source) -> Callable[[Range], Array]:
    """The task of workers that draw ranges."""
    folder = source.model if source.site is None else source.site.artifact(source.model)
    model = load_model(folder, registry(), source.device)
    return lambda at: draw(model, source.drawing, at)


DRAWER = f"{__name__}:drawer"
