"""One model's codes as another model's data: tokens as images of whole numbers, latent vectors as real ones.

A model with `encode` and `decode` has codes that another family can model. With the capability "posterior" it also has
q(h | x) and p(x | h) as densities (`Model.draw_code`, `log_likelihood`, `emit`), and so bounds log p(x) under any
prior over h.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from genpipe.components import EventKind
from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.model import Model
from genpipe.noise import Noise


def code_spec(model: Model, event: EventKind | None = None) -> DataSpec:
    """What the codes of a model are as data: whole numbers where it has `code_levels`, else real ones without units yet.

    event: "vector" or "sequence" lays them flat, in raster order; None takes an image where the code is one, (C, h, w),
    else a vector. Labels are the data's. UsageError where a code cannot be that kind of data.
    """
    name, levels, shape = f"codes of {model.spec.name}", model.code_levels(), model.code_shape()
    event = event or ("image" if len(shape) == 3 else "vector")
    if event == "image" and len(shape) != 3:
        raise UsageError(
            f"codes of family '{model.family.name}' have shape {shape} and are no images (C, h, w): as vectors?"
        )
    if event == "sequence" and levels is None:
        raise UsageError(
            f"codes of family '{model.family.name}' are real numbers, and sequences are of whole ones: as vectors?"
        )
    if event != "image":
        shape = (math.prod(shape),)
    return replace(
        model.spec, name=name, event=event, shape=shape, levels=levels, low=None, high=None, mean=None, std=None
    )


def draw_codes(model: Model, x: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
    """A code (B, …) for each of x (B, *event), data units: drawn from q(h | x) where the model has it, else `encode`'s."""
    with torch.no_grad():
        z = model.units.to_network(model.units.check(x).to(model.device), noise)
        if "posterior" in model.family.capabilities:
            return model.draw_code(z, y, noise)[0]
        return model.infer(z, y)
