"""Gaussian naive Bayes: a mean and a variance for each class and column."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from genpipe import ops
from genpipe.closed_form import check_columns, check_examples, in_blocks
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.model import Batch, Progress, Sampler
from genpipe.noise import Noise
from genpipe.plugins.naive_bayes import NAIVE_BAYES
from genpipe.plugins.naive_bayes.config import NaiveBayesConfig
from genpipe.plugins.naive_bayes.joint import NaiveBayes, check_classes


class GaussianNaiveBayes(NaiveBayes):
    """p(z | y) = Π_d N(z_d; m_yd, v_yd), of maximum likelihood, in one pass.

    Answers everything exactly. Columns are taken for independent given the class, which those of images are not: fine
    as a classifier, poor as a density.

    State, float64: means and variances, (K, D). Before it is fitted every class is the standard Gaussian.
    """

    config: NaiveBayesConfig
    means: Tensor
    variances: Tensor

    def __init__(self, config: NaiveBayesConfig, spec: DataSpec) -> None:
        super().__init__(NAIVE_BAYES, config, spec)
        assert spec.num_classes is not None
        self.register_buffer("means", torch.zeros(spec.num_classes, spec.num_dimensions, dtype=torch.float64))
        self.register_buffer("variances", torch.ones(spec.num_classes, spec.num_dimensions, dtype=torch.float64))

    def estimate(self, batches: Callable[[], Iterator[Batch]], progress: Progress) -> dict[str, float]:
        """Means and variances by class, in float64.

        Raises DataError where a class has no examples, a column is constant, or, with reg_covar = 0, is constant within
        a class.
        """
        moments, done = ColumnMoments(torch.zeros_like(self.means)), 0
        for block in in_blocks(batches()):
            assert block.y is not None
            moments.add(block.z.double(), block.y)
            done += len(block.z)
            progress(done, None)
        check_examples(done, self.spec)
        check_classes(moments.counts, self.spec)
        within = moments.squares / moments.counts[:, None]
        if done > 1:
            check_columns((within == 0).all(0) & (moments.means == moments.means[0]).all(0), self.spec)
        variances = within + self.config.reg_covar
        if not (variances > 0).all():
            k, d = (variances <= 0).nonzero()[0].tolist()
            raise DataError(
                f"column {d} of data set '{self.spec.name}' is constant in class {k}, where its density is unbounded: set "
                "reg_covar above 0, or drop the column"
            )
        self.means.copy_(moments.means)
        self.variances.copy_(variances)
        # E log N over a class's own examples: − ½ Σ (log 2π v + S / v).
        nats = -0.5 * ((2 * torch.pi * variances).log() + within / variances).sum(1)
        shares = moments.counts / done
        return {"log_likelihood": float((shares * nats).sum()), "examples": float(done)}

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        e = noise.normal("normal", (num, self.spec.num_dimensions), dtype=torch.float64, device=self.device)
        z = self.means[y] + self.variances[y].sqrt() * e
        return z.reshape(num, *self.spec.shape).float()

    def log_density(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        """(B,) float64, exact."""
        return -ops.gaussian_nll(self.means[y], self.variances[y].log(), z.flatten(1).double())

    def log_density_gradient(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        gradient = (self.means[y] - z.flatten(1).double()) / self.variances[y]
        return gradient.reshape(z.shape).to(z.dtype)


class ColumnMoments:
    """Count, mean and sum of squared deviations of every column, for each class; blocks are merged as they come."""

    def __init__(self, zeros: Tensor) -> None:
        """zeros: (K, D) float64."""
        self.counts, self.means, self.squares = zeros.new_zeros(len(zeros)), zeros.clone(), zeros.clone()

    def add(self, z: Tensor, y: Tensor) -> None:
        """z: (B, D) float64; y: (B,). Chan, Golub & LeVeque (1983), eq. 2.1."""
        for k in y.unique().tolist():
            rows = z[y == k]
            mean, share = rows.mean(0), len(rows) / (self.counts[k] + len(rows))
            delta = mean - self.means[k]
            self.squares[k] += (rows - mean).square().sum(0) + delta.square() * (self.counts[k] * share)
            self.means[k] += delta * share
            self.counts[k] += len(rows)


def build(config: NaiveBayesConfig, spec: DataSpec) -> GaussianNaiveBayes:
    return GaussianNaiveBayes(config, spec)
