"""The exponential of what a sample's class and the sample tell of each other."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genpipe import ops
from genpipe.evaluation import Estimate, Metric, Reference, Shard, State
from genpipe.plugins.classifier_score.config import ClassifierScoreConfig

LEAST_PER_CLASS = 10  # samples in a split, for each class


class ClassifierScore(Metric):
    """exp E KL(p(y given x) ‖ p(y)), with p(y) the mean over samples (Salimans et al., 2016, sec. 4).

    1 where the classifier says the same of all samples, the number of classes where it is sure of each and all are as
    frequent. It sees neither the real data nor whether a class has more than one picture: read it beside the oracle
    row. p(y) of few samples is too uneven, and the score with it too low, by about (K − 1)/(2N) of its logarithm; the
    mean of 10 splits, as published, has ten times that.
    """

    def __init__(self, config: ClassifierScoreConfig) -> None:
        self._num_splits = config.num_splits

    def prepare(self, reference: Reference) -> None:
        self._name = reference.title("IS", "CS")

    def _splits(self, first_index: int, num: int) -> Tensor:
        """The split of each sample, by its position alone; of as many samples in a row as there are splits, each gets
        one, at random: samples asked for by label come in turns, and so would the splits' classes."""
        first, last = first_index // self._num_splits, -(-(first_index + num) // self._num_splits)
        shape = (last - first, self._num_splits)
        draws = ops.uniform(ops.key(0, "classifier_score"), shape, first_index=first, dtype=torch.float64)
        start = first_index - first * self._num_splits
        return draws.argsort(dim=1).flatten()[start : start + num]

    def shard(self, shard: Shard) -> State:
        assert shard.logits is not None
        log_p = shard.logits.to(torch.float64).log_softmax(dim=1)
        p, split = log_p.exp(), self._splits(shard.first_index, len(log_p))
        certainty = torch.special.xlogy(p, p).sum(dim=1)
        return {
            "num": torch.bincount(split, minlength=self._num_splits),
            "p": torch.zeros(self._num_splits, p.shape[1], dtype=torch.float64).index_add_(0, split, p),
            "certainty": torch.zeros(self._num_splits, dtype=torch.float64).index_add_(0, split, certainty),
        }

    def merge(self, first: State, second: State) -> State:
        return {name: first[name] + second[name] for name in first}

    def result(self, state: State) -> list[Estimate]:
        num, count = int(state["num"].sum()), self._num_splits
        whole = {name: tensor.sum(dim=0, keepdim=True) for name, tensor in state.items()}
        value = float(_scores(whole))
        if bool((state["num"] == 0).any()):
            few = (f"no standard error, nor a mean of {count} splits: there are {num} samples",)
            return [Estimate(name=self._name, value=value, better="higher", num=num, notes=few)]
        without = _scores({name: whole[name] - tensor for name, tensor in state.items()})
        error = math.sqrt((count - 1) / count * float((without - without.mean()).square().sum()))
        of_splits = _scores(state)
        notes: tuple[str, ...] = (
            f"the {count} splits' standard deviation is {float(of_splits.std(correction=0)):.4g} (ddof 0)",
        )
        num_classes = state["p"].shape[1]
        if num < LEAST_PER_CLASS * num_classes * count:
            notes += (
                f"{num // count} samples a split are few for {num_classes} classes: each split's score is too low",
            )
        mean = Estimate(
            name=f"{self._name}, mean of {count} splits",
            value=float(of_splits.mean()),
            standard_error=float(of_splits.std(correction=1)) / math.sqrt(count),
            better="higher",
            num=num,
            notes=notes,
        )
        return [Estimate(name=self._name, value=value, standard_error=error, better="higher", num=num), mean]


def _scores(sums: State) -> Tensor:
    """(S,), of each split's sums."""
    p = sums["p"] / sums["num"][:, None]
    return (sums["certainty"] / sums["num"] - torch.special.xlogy(p, p).sum(dim=1)).exp()


def build(config: ClassifierScoreConfig) -> ClassifierScore:
    return ClassifierScore(config)
