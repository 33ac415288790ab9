"""The shape of samples: how an array of another program's becomes examples of a data set, and why it does not."""

from __future__ import annotations

import math

from genpipe.data import Array
from genpipe.dataspec import DataSpec

Shape = tuple[int, ...]


def laid_out(x: Array, spec: DataSpec, reshape: bool) -> Array | None:
    """x (n, *any) as (n, *spec.shape); None where that cannot be, `misfit` says why.

    A grey image in three equal channels, as programs write it that know only colours, becomes one of one channel.
    """
    if x.shape[1:] == spec.shape:
        return x
    if is_grey_of(x.shape[1:], spec) and bool((x == x[:, :1]).all()):
        return x[:, :1]
    if reshape and math.prod(x.shape[1:]) == spec.num_dimensions:
        return x.reshape(len(x), *spec.shape)
    return None


def is_grey_of(shape: Shape, spec: DataSpec) -> bool:
    """Whether samples of a shape are those of a grey data set in three channels."""
    return spec.event == "image" and spec.shape[0] == 1 and shape == (3, *spec.shape[1:])


def misfit(shape: Shape, spec: DataSpec) -> str:
    """What is wrong with a sample's shape, and what can be done."""
    problem = f"a sample has shape {listed(shape)}, expected {listed(spec.shape)}"
    if is_grey_of(shape, spec):
        return f"{problem}: samples are in colour, '{spec.name}' is grey; make them grey (images: samples.mode=L)"
    if len(shape) == len(spec.shape) == 3:
        if (shape[2], *shape[:2]) == spec.shape or (shape[2] in (1, 3) and shape[0] not in (1, 3)):
            return f"{problem}: channels seem to come last; set samples.channels_last=true"
        if shape[1:] != spec.shape[1:]:
            size = str(list(spec.shape[1:])) if spec.shape[1] != spec.shape[2] else str(spec.shape[1])
            return f"{problem}: bring the images to one size (image files: samples.size={size.replace(' ', '')})"
        return f"{problem}: the number of channels differs"
    if math.prod(shape) == spec.num_dimensions:
        return f"{problem}: as many numbers; set samples.reshape=true to take them in their order"
    return problem


def listed(shape: Shape) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
