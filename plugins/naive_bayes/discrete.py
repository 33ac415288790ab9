"""Naive Bayes of whole numbers: counting is all of its training, and log P of the numbers its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from genpipe.closed_form import check_examples, in_blocks
from genpipe.dataspec import DataSpec
from genpipe.model import Batch, Progress, Sampler
from genpipe.noise import Noise
from genpipe.plugins.naive_bayes import DISCRETE_NAIVE_BAYES
from genpipe.plugins.naive_bayes.conditionals import Bernoulli, Categorical, Conditional, Multinomial, Tokens
from genpipe.plugins.naive_bayes.config import DiscreteNaiveBayesConfig
from genpipe.plugins.naive_bayes.joint import NaiveBayes, check_classes


class DiscreteNaiveBayes(NaiveBayes):
    """P(x | y) of whole numbers x, by counts with `alpha` added (Laplace's rule for 1), in one pass.

    Answers P of the numbers exactly. `conditionals` says how numbers depend on the class, see each in `conditionals.py`.
    """

    config: DiscreteNaiveBayesConfig
    conditional_distribution: Conditional

    def __init__(self, config: DiscreteNaiveBayesConfig, spec: DataSpec) -> None:
        super().__init__(DISCRETE_NAIVE_BAYES, config, spec)
        kinds = {"categorical": Categorical, "bernoulli": Bernoulli, "multinomial": Multinomial}
        kind = (
            Tokens if (config.conditionals, spec.event) == ("multinomial", "sequence") else kinds[config.conditionals]
        )
        self.conditional_distribution = kind(spec, config.alpha)

    def estimate(self, batches: Callable[[], Iterator[Batch]], progress: Progress) -> dict[str, float]:
        """Counts by class. Raises DataError where a class has no examples."""
        distribution, done = self.conditional_distribution, 0
        assert self.spec.num_classes is not None
        classes = torch.zeros(self.spec.num_classes, dtype=torch.int64, device=self.device)
        distribution.begin()
        for block in in_blocks(batches()):
            assert block.y is not None
            distribution.count(self.numbers(block.z), block.y)
            classes += torch.bincount(block.y, minlength=len(classes))
            done += len(block.z)
            progress(done, None)
        check_examples(done, self.spec)
        check_classes(classes, self.spec)
        distribution.finish()
        return {"examples": float(done)}

    def numbers(self, z: Tensor) -> Tensor:
        """(B, D) int64 of network units, where the middles of their bins lie."""
        assert self.spec.levels is not None
        half = self.spec.levels / 2
        return (z.flatten(1) * half + (half - 0.5)).round().long()

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        assert self.spec.levels is not None
        assert y is not None
        x = self.conditional_distribution.draw(y, noise)
        return ((2 * x + 1) / self.spec.levels - 1).reshape(num, *self.spec.shape).float()

    def log_density(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        """(B,) float64, exact."""
        assert y is not None
        return self.conditional_distribution.log_prob(self.numbers(z), y)


def build(config: DiscreteNaiveBayesConfig, spec: DataSpec) -> DiscreteNaiveBayes:
    return DiscreteNaiveBayes(config, spec)
