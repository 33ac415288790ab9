"""The histogram: the lesson in dimension."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from genpipe.closed_form import check_columns, check_examples, in_blocks
from genpipe.dataspec import DataSpec
from genpipe.model import Batch, Model, Progress, Sampler
from genpipe.noise import Noise
from genpipe.plugins.kernel_density import HISTOGRAM
from genpipe.plugins.kernel_density.boxes import Tiling, counts_at, occupancy
from genpipe.plugins.kernel_density.config import HistogramConfig

CANDIDATES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


class Histogram(Model):
    """p(z) = (n(z) / V + a g(z)) / (N + a): n(z) training examples in the box of z, V its volume, N all of them.

    Outside the boxes that hold examples there is g, the Gaussian of the data's means and variances, with the weight of
    `prior_examples` a: the mean of a Dirichlet process (Ferguson, 1973), so that the density is nowhere zero and
    integrates to one. Optimises the number of bins by the likelihood of examples that are left out, with which one box
    may be the best answer. Answers exactly. The lesson: k bins along D dimensions are k^D boxes, and where D is 64
    almost no example shares its box with another (the number `alone`), so that g is all that is left.

    State: boxes (M, D) int32 and counts (M,) int64 of those that hold examples; origin, width, mean and std (D,)
    float64. Before it is fitted the model is the standard Gaussian.
    """

    config: HistogramConfig
    boxes: Tensor
    counts: Tensor
    origin: Tensor
    width: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, config: HistogramConfig, spec: DataSpec) -> None:
        super().__init__(HISTOGRAM, config, spec)
        d = spec.num_dimensions
        self.register_rows("boxes", torch.zeros(0, d, dtype=torch.int32))
        self.register_rows("counts", torch.zeros(0, dtype=torch.int64))
        for name, value in (("origin", 0.0), ("width", 1.0), ("mean", 0.0), ("std", 1.0)):
            self.register_buffer(name, torch.full((d,), value, dtype=torch.float64))

    @property
    def tiling(self) -> Tiling:
        return Tiling(self.origin, self.width)

    def estimate(self, batches: Callable[[], Iterator[Batch]], progress: Progress) -> dict[str, float]:
        """Keeps the whole split in memory, 4 bytes for each number, and counts it for each number of bins.

        Raises DataError where there are fewer than two examples or a column is constant.
        """
        blocks = [block.z for block in in_blocks(batches())]
        check_examples(sum(map(len, blocks)), self.spec, least=2)
        z = torch.cat(blocks).double()
        check_columns((z == z[0]).all(0), self.spec)
        low, high = z.amin(0), z.amax(0)
        self.mean.copy_(z.mean(0))
        self.std.copy_(z.std(0, correction=0))
        self.origin.copy_(low)
        tried = CANDIDATES if self.config.num_bins is None else (self.config.num_bins,)
        best: tuple[float, int] | None = None
        for done, num_bins in enumerate(tried):
            self.width.copy_((high - low) * (1 + 1e-9) / num_bins)  # so that the highest lies in the last bin
            _, counts, where = occupancy(self.tiling.box(z))
            value = float(self._log_mixed(z, counts[where] - 1, len(z) - 1).mean())
            progress(done + 1, len(tried), left_out_log_likelihood=value)
            if best is None or value > best[0]:
                best = value, num_bins
        assert best is not None
        value, num_bins = best
        self.width.copy_((high - low) * (1 + 1e-9) / num_bins)
        boxes, counts, where = occupancy(self.tiling.box(z))
        self.set_rows("boxes", boxes)
        self.set_rows("counts", counts)
        return {
            "num_bins": float(num_bins),
            "boxes": float(len(boxes)),
            "alone": float((counts[where] == 1).double().mean()),
            "left_out_log_likelihood": value,
            "examples": float(len(z)),
        }

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        d = self.spec.num_dimensions
        u = noise.uniform("box", (num, 1), dtype=torch.float64, device=self.device)[:, 0]
        upto = torch.cat([self.counts.new_zeros(1), self.counts.cumsum(0)])
        which = torch.searchsorted(upto[1:].double(), u * (float(upto[-1]) + self.config.prior_examples), right=True)
        e = noise.normal("prior", (num, d), dtype=torch.float64, device=self.device)
        z = self.mean + self.std * e
        inside = which < len(self.counts)
        within = noise.uniform("within", (num, d), dtype=torch.float64, device=self.device)[inside]
        z[inside] = self.origin + self.width * (self.boxes[which[inside]] + within)
        return z.reshape(num, *self.spec.shape).float()

    def log_density(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        """(B,) float64, exact."""
        z = z.flatten(1).double()
        return self._log_mixed(z, counts_at(self.tiling.box(z), self.boxes, self.counts), int(self.counts.sum()))

    def _log_mixed(self, z: Tensor, counts: Tensor, num: int) -> Tensor:
        """log p of z (B, D), with `counts` (B,) of `num` examples in its boxes."""
        white = (z - self.mean) / self.std
        prior = -0.5 * (white.square() + math.log(2 * math.pi)).sum(1) - self.std.log().sum()
        weight = self.config.prior_examples
        return torch.logaddexp(counts.double().log() - self.tiling.log_volume, prior + math.log(weight)) - math.log(
            num + weight
        )


def build(config: HistogramConfig, spec: DataSpec) -> Histogram:
    return Histogram(config, spec)
