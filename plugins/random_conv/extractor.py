"""Statistics of the channels of seeded random convolutions."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from genpipe import ops
from genpipe.data import subset_by_hash
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError, UsageError
from genpipe.evaluation import Examples, FeatureExtractor, LabelledExamples
from genpipe.feature_input import FeatureInput, read
from genpipe.plugins.random_conv.config import RandomConvConfig

BATCH = 256
CONVOLUTIONS = {1: (F.conv1d, F.avg_pool1d), 2: (F.conv2d, F.avg_pool2d)}  # by the dimensions of space


class RandomConv(FeatureExtractor):
    """x → the mean and the standard deviation over space of every channel of every layer, (B, 2 Σ channels).

    A layer is a convolution with weights N(0, 1 / fan-in), a standardisation of each channel by the training split,
    ReLU, and the mean of each 2 × 2 pixels. Random networks are a fair judge of texture and layout where none was
    trained on such data (Naeem et al., 2020), and as they saw no labels they favour no class.
    """

    def __init__(self, config: RandomConvConfig) -> None:
        if config.kernel_size % 2 == 0:
            raise UsageError(f"features 'random_conv': kernel_size is {config.kernel_size}, expected an odd number")
        self._config = config

    def _use(self, spec: DataSpec) -> None:
        self._input = FeatureInput(spec)
        self._space = len(self._input.shape) - 1
        widths = (self._input.shape[0], *self._config.channels)
        self._weights: list[Tensor] = []
        self._standards: list[tuple[Tensor, Tensor]] = []
        for layer, (before, after) in enumerate(itertools.pairwise(widths)):
            shape = (after, before, *(self._config.kernel_size,) * self._space)
            normal = ops.normal(ops.key(self._config.seed, f"random_conv/{layer}"), shape, dtype=torch.float64)
            self._weights.append((normal / math.sqrt(math.prod(shape[1:]))).to(torch.float32).to(self.device))

    def prepare(self, spec: DataSpec, split: LabelledExamples | None, train: Examples) -> None:
        self._use(spec)
        chosen = subset_by_hash(len(train), self._config.num_calibration, self._config.seed)
        batches = [chosen[start : start + BATCH] for start in range(0, len(chosen), BATCH)]
        first = read(train, chosen[:1])
        if all(bool((read(train, batch) == first).all()) for batch in batches):
            raise DataError(
                f"features 'random_conv': the {len(chosen)} training examples of data set '{spec.name}' that channels "
                "are standardised by are all the same"
            )
        for layer in range(len(self._weights)):
            seen = (self._up_to(layer, read(train, batch)) for batch in batches)
            self._standards.append(_standard(seen))

    @torch.no_grad()
    def _up_to(self, layer: int, x: Tensor) -> Tensor:
        """What a layer's convolution gives, not yet standardised."""
        h = self._input(x.to(self.device))
        for below in range(layer):
            h = self._halved(self._active(below, self._convolved(below, h)))
        return self._convolved(layer, h)

    def _convolved(self, layer: int, h: Tensor) -> Tensor:
        convolve, _ = CONVOLUTIONS[self._space]
        # On a GPU, too, in float32 and the same each time.
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            answer: Tensor = convolve(h, self._weights[layer], padding=self._config.kernel_size // 2)
        return answer

    def _active(self, layer: int, h: Tensor) -> Tensor:
        mean, scale = (value.reshape(-1, *(1,) * self._space) for value in self._standards[layer])
        return F.relu((h - mean) * scale)

    def _halved(self, h: Tensor) -> Tensor:
        if min(h.shape[2:]) < 2:
            return h
        _, pool = CONVOLUTIONS[self._space]
        answer: Tensor = pool(h, 2)
        return answer

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        h, found = self._input(x.to(self.device)), []
        for layer in range(len(self._weights)):
            h = self._active(layer, self._convolved(layer, h))
            flat = h.flatten(start_dim=2).to(torch.float64)
            found += [flat.mean(dim=2), flat.std(dim=2, correction=0)]
            h = self._halved(h)
        return torch.cat(found, dim=1).cpu()

    def state(self) -> dict[str, Tensor]:
        """The standards alone: weights follow from the seed."""
        named: dict[str, Tensor] = {}
        for layer, (mean, scale) in enumerate(self._standards):
            named |= {f"{layer}.mean": mean.cpu(), f"{layer}.scale": scale.cpu()}
        return named

    def restore(self, spec: DataSpec, state: Mapping[str, Tensor]) -> None:
        self._use(spec)
        pairs = [(state[f"{layer}.mean"], state[f"{layer}.scale"]) for layer in range(len(self._weights))]
        self._standards = [(mean.to(self.device), scale.to(self.device)) for mean, scale in pairs]

    @property
    def fingerprint(self) -> str:
        """With a digest of the options and of the standards to 4 digits: rounding of sums differs between machines."""
        text = self._config.model_dump_json()
        for mean, scale in self._standards:
            text += f"{(mean * scale * 1e4).round().to(torch.int64).tolist()} {[f'{v:.4g}' for v in scale.tolist()]}"
        return f"random_conv@{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _standard(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and 1 / deviation (C,) of each channel of (B, C, *space); a channel that does not vary is left at 0."""
    num, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for part in parts:
        flat = part.to(torch.float64).movedim(1, 0).flatten(start_dim=1)
        own = flat.mean(dim=1)
        delta, before, num = own - mean, num, num + flat.shape[1]
        # Eq. 2.1 of Chan, Golub & LeVeque (1983)
        squares = squares + (flat - own[:, None]).square().sum(dim=1) + delta.square() * (before * flat.shape[1] / num)
        mean = mean + delta * (flat.shape[1] / num)
    deviation = (squares / num).sqrt()
    scale = torch.where(deviation > 1e-6 * deviation.amax(), 1 / deviation, 0.0)
    return mean.to(torch.float32), scale.to(torch.float32)


def build(config: RandomConvConfig) -> RandomConv:
    return RandomConv(config)
