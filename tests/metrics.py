"""A metric made ready in one go, as an evaluation makes it ready shard by shard."""

import torch
from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.evaluation import Estimate, Metric, Reference, Shard


def ready(metric: Metric, reference: Reference) -> Metric:
    metric.prepare(reference)
    real = {"train": reference.train_features, "held_out": reference.held_out_features}
    x = {"train": reference.train, "held_out": reference.held_out}
    wanted = {name: Shard(x=torch.as_tensor(x[name]), features=real[name]) for name in metric.calibrates_on}
    metric.calibrate({name: metric.shard(shard) for name, shard in wanted.items()})
    return metric


def normals(num: int, dims: int = 4, seed: int = 0) -> Tensor:
    """(num, dims) float64."""
    return torch.randn(num, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reference_of(train: Tensor, held_out: Tensor | None = None) -> Reference:
    """Vectors (N, D) as their own features."""
    held_out = train if held_out is None else held_out
    return Reference(
        spec=DataSpec(name="points", event="vector", shape=(train.shape[1],)),
        train=train,
        held_out=held_out,
        train_features=train,
        held_out_features=held_out,
        extractor="identity",
    )


def score(metric: Metric, features: Tensor, num_shards: int = 1) -> dict[str, Estimate]:
    """The cells of a row, by name."""
    state, start = None, 0
    for part in features.chunk(num_shards):
        shard = metric.shard(Shard(x=part, features=part, first_index=start))
        state = shard if state is None else metric.merge(state, shard)
        start += len(part)
    assert state is not None
    return {cell.name: cell for cell in metric.result(state)}
