"""What is no data: made of noise or of held-out examples, or another data set's."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from genpipe import ops
from genpipe.config import Component
from genpipe.data import Source, read_whole
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError, UsageError
from genpipe.noise import Noise
from genpipe.registry import registry
from genpipe.units import Units

Outside = Callable[[Tensor, int], Tensor]
"""f(x, first_index): as many examples as x (B, *event), or fewer where there are no more; a function of positions."""


def outside(out: str, dataset: Component | None, spec: DataSpec) -> Outside:
    if dataset is not None:
        return _of_another(dataset, spec)
    if out == "noise":
        return lambda x, first_index: _noise(spec, tuple(x.shape), Noise(0, "outliers", first_index))
    if spec.event != "image":
        raise UsageError(f"outliers: '{out}' is for images, and data set '{spec.name}' has {spec.event}s: use 'noise'")
    return _shuffled if out == "shuffled" else lambda x, first_index: _smooth(x)


def _noise(spec: DataSpec, shape: tuple[int, ...], noise: Noise) -> Tensor:
    if spec.levels is not None:
        return noise.randint("levels", spec.levels, shape).to(getattr(torch, spec.dtype))
    z = 2 * noise.uniform("range", shape) - 1 if spec.low is not None else noise.normal("normal", shape)
    return Units(spec).from_network(z)


def _shuffled(x: Tensor, first_index: int) -> Tensor:
    """The places of an image's pixels exchanged, all channels alike: their histogram stays."""
    u = Noise(0, "outliers/shuffled", first_index).uniform("order", (len(x), x[0, 0].numel()))
    order = u.argsort(dim=1)[:, None].expand(-1, x.shape[1], -1)
    return x.flatten(2).gather(2, order).reshape(x.shape)


def _smooth(x: Tensor) -> Tensor:
    means = F.avg_pool2d(x.float(), 3, stride=1, padding=1, count_include_pad=False)
    return (means if x.is_floating_point() else means.round()).to(x.dtype)


def _of_another(dataset: Component, spec: DataSpec) -> Outside:
    built = registry().get("dataset", dataset.name).builder(dataset.config, 0)
    data = read_whole(built) if isinstance(built, Source) else built
    for what in ("shape", "levels", "low", "high"):
        given, expected = getattr(data.spec, what), getattr(spec, what)
        if given != expected:
            raise DataError(f"outliers: data set '{data.spec.name}' has {what} {given}, and '{spec.name}' {expected}")
    x, num = torch.from_numpy(data.x), len(data.x)

    def examples(like: Tensor, first_index: int) -> Tensor:
        count = max(min(len(like), num - first_index), 0)
        chosen = ops.permutation(ops.key(0, "outliers"), num, start=min(first_index, num), count=count)
        return x[chosen]

    return examples
