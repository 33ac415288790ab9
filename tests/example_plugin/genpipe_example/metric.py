"""The metric: a state that merges over shards, and one number from it."""

import torch

from genpipe import Config
from genpipe.evaluation import Estimate, Metric, Reference, Shard, State


class MeanErrorConfig(Config):
    pass


class MeanError(Metric):
    """‖mean of the samples' features − mean of the training split's features‖."""

    def __init__(self, config: MeanErrorConfig) -> None:
        pass

    def prepare(self, reference: Reference) -> None:
        self._mean = reference.train_features.mean(dim=0)

    def shard(self, shard: Shard) -> State:
        assert shard.features is not None
        return {"num": torch.tensor(len(shard.features)), "sum": shard.features.sum(dim=0)}

    def merge(self, first: State, second: State) -> State:
        return {name: first[name] + second[name] for name in first}

    def result(self, state: State) -> list[Estimate]:
        num = int(state["num"])
        value = float((state["sum"] / num - self._mean).norm())
        return [Estimate(name="mean error", value=value, better="lower", num=num)]
