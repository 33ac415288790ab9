"""The code of an autoencoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genpipe.dataspec import DataSpec
from genpipe.evaluation import Examples, FeatureExtractor, LabelledExamples
from genpipe.feature_input import FeatureInput, read
from genpipe.plugins.trained_features.config import AutoencoderConfig
from genpipe.plugins.trained_features.fitting import Indices, batches, fit, in_memory, mean_loss, parts_of
from genpipe.plugins.trained_features.network import Decoder, Encoder
from genpipe.plugins.trained_features.trained import digest_of, exactly, load, make, state_of, undrawn

MOST_FEATURES = 32


class Network(nn.Module):
    """z → code (B, F), and back."""

    def __init__(self, shape: tuple[int, ...], num_features: int, config: AutoencoderConfig) -> None:
        super().__init__()
        self.encoder = Encoder(shape, num_features, config.width, config.hidden)
        self.decoder = Decoder(shape, num_features, config.width, config.hidden)

    def forward(self, z: Tensor) -> Tensor:
        answer: Tensor = self.decoder(self.encoder(z))
        return answer


class Autoencoder(FeatureExtractor):
    """x → code, (B, F).

    Trained by squared error, or by cross-entropy where the input is one-hot. Its history ends with what it explains of
    a part of its split that neither fitted its weights nor stopped its training: 1 less its loss over that of the best
    constant answer, 0 where it learned nothing and 1 where it loses nothing.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        self._config = config

    def _use(self, spec: DataSpec) -> nn.Module:
        """The network for such data."""
        self._input = FeatureInput(spec)
        num = self._config.num_features or max(1, min(MOST_FEATURES, spec.num_dimensions // 4))
        return undrawn(lambda: Network(self._input.shape, num, self._config))

    def prepare(self, spec: DataSpec, split: LabelledExamples | None, train: Examples) -> None:
        self._network = make(self._use(spec), self._config.seed, self.device)
        assert split is not None, "the record says that it trains"
        x = in_memory(split.x)
        parts = parts_of(len(x), self._config.seed, "autoencoder")

        def loss(which: Indices) -> Tensor:
            z = self._z(read(x, which))
            return self._loss(self._network(z), z)

        with exactly():
            history = fit(self._network, loss, parts, self._config)
            total = torch.zeros(self._input.shape, dtype=torch.float64, device=self.device)
            for which in batches(parts.fit):
                total += self._z(read(x, which)).sum(dim=0)
            constant = self._constant(total / len(parts.fit))
            judged = mean_loss(loss, parts.judge)

            def worst(which: Indices) -> Tensor:
                z = self._z(read(x, which))
                return self._loss(constant.expand_as(z), z)

            baseline = mean_loss(worst, parts.judge)
        self.history: Sequence[Mapping[str, float]] = [
            *history,
            {"step": history[-1]["step"], "explained": 1 - judged / baseline, "judged on": len(parts.judge)},
        ]

    def _z(self, x: Tensor) -> Tensor:
        return self._input(x.to(self.device))

    def _loss(self, answer: Tensor, z: Tensor) -> Tensor:
        return F.cross_entropy(answer, z) if self._input.one_hot else F.mse_loss(answer, z)

    def _constant(self, mean: Tensor) -> Tensor:
        """The answer that is best where nothing is known of x; a letter that was never seen counts as one in 10⁴."""
        return (mean.clamp(min=1e-4).log() if self._input.one_hot else mean).to(torch.float32)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        with exactly():
            code: Tensor = self._network.encoder(self._z(x))
        return code.to("cpu", torch.float64)

    def state(self) -> dict[str, Tensor]:
        return state_of(self._network)

    def restore(self, spec: DataSpec, state: Mapping[str, Tensor]) -> None:
        self._network = load(self._use(spec), state, self.device)

    @property
    def fingerprint(self) -> str:
        return f"autoencoder@{digest_of(self._network)}"


def build(config: AutoencoderConfig) -> Autoencoder:
    return Autoencoder(config)
