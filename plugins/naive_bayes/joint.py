"""The joint distribution p(x, y), which naive Bayes is a model of: what a classifier needs."""

from __future__ import annotations

import torch
from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.labels import class_fractions
from genpipe.model import Model


class NaiveBayes(Model):
    """p(x, y) = p(y) Π_d p(x_d | y). p(y) is the frequency of each class in the training split."""

    def log_joint(self, x: Tensor, *, seed: int = 0, first_index: int = 0) -> Tensor:
        """log p(x, y) in nats for x (B, *event), data units, and every class y: (B, K).

        Its logsumexp over classes is `log_prob(x)`, and its softmax p(y | x).
        """
        prior = class_fractions(self.spec).log().to(self.device)
        labels = [torch.full((len(x),), k) for k in range(len(prior))]
        columns = [self.log_prob(x, y, seed=seed, first_index=first_index).nats for y in labels]
        return torch.stack(columns, dim=1) + prior


def check_classes(counts: Tensor, spec: DataSpec) -> None:
    """DataError where a class has no training examples. counts: (K,)."""
    absent = (counts == 0).nonzero()[:, 0].tolist()
    if absent:
        name = f" ('{spec.class_names[absent[0]]}')" if spec.class_names else ""
        raise DataError(
            f"{len(absent)} of {len(counts)} classes of data set '{spec.name}' have no training examples, first class "
            f"{absent[0]}{name}: give more data, or leave the class out"
        )
