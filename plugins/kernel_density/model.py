"""The kernel density: the training examples themselves, blurred."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from genpipe.closed_form import check_columns, check_examples, in_blocks
from genpipe.dataspec import DataSpec
from genpipe.model import Batch, Model, Progress, Sampler
from genpipe.noise import Noise
from genpipe.plugins.kernel_density import KERNEL_DENSITY
from genpipe.plugins.kernel_density.bandwidth import cross_validated
from genpipe.plugins.kernel_density.config import KernelDensityConfig
from genpipe.plugins.kernel_density.kernels import Kernels


class KernelDensity(Model):
    """p(z) = 1/N Σ_j N(z; x_j, h² I) over all training examples x_j (Parzen, 1962).

    Optimises one number, h, by the likelihood of examples that are left out. Answers exactly, at the price of a
    distance to every training example; a sample is a training example with noise, and so never new. Right for any
    density where examples are dense, which they are in few dimensions only.

    State: examples (N, D) float32, which are the data, so that a saved model is as large; bandwidth () float64.
    Before it is fitted the model is the standard Gaussian.
    """

    config: KernelDensityConfig
    examples: Tensor
    bandwidth: Tensor

    def __init__(self, config: KernelDensityConfig, spec: DataSpec) -> None:
        super().__init__(KERNEL_DENSITY, config, spec)
        self.register_rows("examples", torch.zeros(1, spec.num_dimensions))
        self.register_buffer("bandwidth", torch.ones((), dtype=torch.float64))

    @property
    def kernels(self) -> Kernels:
        return Kernels(self.examples, float(self.bandwidth))

    def estimate(self, batches: Callable[[], Iterator[Batch]], progress: Progress) -> dict[str, float]:
        """Keeps the whole split in memory, 4 bytes for each number, and cross-validates the bandwidth.

        Raises DataError where there are fewer than two examples or a column is constant.
        """
        blocks = list(in_blocks(batches()))
        check_examples(sum(len(block.z) for block in blocks), self.spec, least=2)
        examples = torch.cat([block.z for block in blocks])
        check_columns((examples == examples[0]).all(0), self.spec)
        numbers = {"examples": float(len(examples))}
        if self.config.bandwidth is None:
            lots = torch.cat([block.noise.uniform("validated", (len(block.z), 1))[:, 0] for block in blocks])
            chosen = lots.argsort()[: self.config.num_validated].sort().values.to(examples.device)
            bandwidth, numbers["left_out_log_likelihood"] = cross_validated(examples, chosen, progress)
        else:
            bandwidth = self.config.bandwidth
        self.set_rows("examples", examples)
        self.bandwidth.fill_(bandwidth)
        return {**numbers, "bandwidth": bandwidth}

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        which = noise.randint("example", len(self.examples), (num, 1), device=self.device)[:, 0]
        e = noise.normal("kernel", (num, self.spec.num_dimensions), dtype=torch.float64, device=self.device)
        return (self.examples[which] + self.bandwidth * e).reshape(num, *self.spec.shape).float()

    def log_density(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        """(B,) float64, exact."""
        return self.kernels.log_prob(z.flatten(1))

    def log_density_gradient(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        return self.kernels.score(z.flatten(1)).reshape(z.shape).to(z.dtype)


def build(config: KernelDensityConfig, spec: DataSpec) -> KernelDensity:
    return KernelDensity(config, spec)
