"""A metric made ready in one go, as an evaluation makes it ready shard by shard."""

import torch

from genpipe.evaluation import Metric, Reference, Shard


def ready(metric: Metric, reference: Reference) -> Metric:
    metric.prepare(reference)
    real = {"train": reference.train_features, "held_out": reference.held_out_features}
    x = {"train": reference.train, "held_out": reference.held_out}
    wanted = {name: Shard(x=torch.as_tensor(x[name]), features=real[name]) for name in metric.calibrates_on}
    metric.calibrate({name: metric.shard(shard) for name, shard in wanted.items()})
    return metric
