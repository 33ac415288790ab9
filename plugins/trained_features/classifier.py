"""The last hidden layer of a classifier, and its logits."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genpipe.dataspec import DataSpec
from genpipe.errors import DataError, UsageError
from genpipe.evaluation import Examples, FeatureExtractor, LabelledExamples
from genpipe.feature_input import FeatureInput, read
from genpipe.plugins.trained_features.calibration import Reliability, reliability
from genpipe.plugins.trained_features.config import ClassifierConfig
from genpipe.plugins.trained_features.fitting import Indices, batches, fit, in_memory, parts_of
from genpipe.plugins.trained_features.network import Encoder
from genpipe.plugins.trained_features.trained import digest_of, exactly, load, make, state_of, undrawn


class Network(nn.Module):
    """z → features (B, F), and from those to logits (B, K)."""

    def __init__(self, shape: tuple[int, ...], num_classes: int, config: ClassifierConfig) -> None:
        super().__init__()
        self.encoder = Encoder(shape, config.num_features, config.width, config.hidden)
        self.head = nn.Linear(config.num_features, num_classes)

    def features(self, z: Tensor) -> Tensor:
        return F.silu(self.encoder(z))

    def forward(self, z: Tensor) -> Tensor:
        answer: Tensor = self.head(self.features(z))
        return answer


class Classifier(FeatureExtractor):
    """x → the last hidden layer, (B, F), and log-probabilities of classes up to a constant, (B, K).

    Trained by cross-entropy. Its history ends with what it is worth on a part of its split that neither fitted its
    weights nor stopped its training: accuracy, negative log-likelihood (nats), and expected calibration error.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        self._config = config

    def _use(self, spec: DataSpec) -> nn.Module:
        """The network for such data."""
        if not spec.num_classes:
            raise DataError(
                f"features 'classifier' need labels, and data set '{spec.name}' has none; "
                "the features 'autoencoder' are trained without"
            )
        self._input, self._num_classes = FeatureInput(spec), spec.num_classes
        self._channels = self._input.shape[0] if self._config.channels_apart else 1
        self._base = round(self._num_classes ** (1 / self._channels))  # classes that a network tells apart
        shape = self._input.shape
        if self._config.channels_apart:
            if spec.event != "image" or self._base**self._channels != self._num_classes:
                raise UsageError(
                    f"features 'classifier': channels_apart is for images whose classes are all combinations of what "
                    f"their channels show; data set '{spec.name}' has {spec.event}s of shape {spec.shape} and "
                    f"{self._num_classes} classes"
                )
            shape = (1, *shape[1:])
        return undrawn(lambda: Network(shape, self._base, self._config))

    def prepare(self, spec: DataSpec, split: LabelledExamples | None, train: Examples) -> None:
        network = self._use(spec)
        assert split is not None, "the record says that it trains"
        if split.y is None:
            raise DataError(f"features 'classifier' need labels, and data set '{spec.name}' has none")
        x, y = in_memory(split.x), torch.from_numpy(np.array(np.asarray(split.y[0 : len(split.x)]), dtype=np.int64))
        parts = parts_of(len(x), self._config.seed, "classifier")
        self._check_classes(y[parts.fit], spec)
        digits = self._digits(y).to(self.device)
        self._network = make(network, self._config.seed, self.device)

        def loss(which: Indices) -> Tensor:
            return F.cross_entropy(self._network(self._z(read(x, which))), digits[which].flatten())

        with exactly():
            history = fit(self._network, loss, parts, self._config)
        logits = torch.cat([self.logits(read(x, which)) for which in batches(parts.judge)])
        judged = y[parts.judge]
        self._reliability = reliability(logits, judged)
        accuracy, num = float((logits.argmax(dim=1) == judged).to(torch.float64).mean()), len(judged)
        self.history: Sequence[Mapping[str, float]] = [
            *history,
            {
                "step": history[-1]["step"],
                "accuracy": accuracy,
                "accuracy standard error": math.sqrt((accuracy * num + 0.5) * (num - accuracy * num + 0.5) / num)
                / (num + 1),
                "nll": float(F.cross_entropy(logits, judged)),
                "expected calibration error": self._reliability.error,
                "judged on": num,
            },
        ]

    def _check_classes(self, y: Tensor, spec: DataSpec) -> None:
        digits = self._digits(y)
        missing = [k for k in range(self._base) if not bool((digits == k).any())]
        if missing:
            named = [spec.class_names[k] if len(spec.class_names) == self._base else str(k) for k in missing[:8]]
            raise DataError(
                f"features 'classifier': of {self._base} classes {len(missing)} have no example among the {len(y)} that "
                f"it is trained on ({', '.join(named)}{' …' if len(missing) > 8 else ''}); raise data.features_fraction"
            )

    def _digits(self, y: Tensor) -> Tensor:
        """(N, channels): what each channel shows."""
        places = self._base ** torch.arange(self._channels - 1, -1, -1)
        return (y[:, None] // places) % self._base

    def _z(self, x: Tensor) -> Tensor:
        """The network's input: channel after channel of an example where they are apart."""
        z = self._input(x.to(self.device))
        return z.flatten(0, 1).unsqueeze(1) if self._config.channels_apart else z

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        with exactly():
            features = self._network.features(self._z(x))
        return features.reshape(len(x), -1).to("cpu", torch.float64)

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        with exactly():
            logits = self._network(self._z(x)).to("cpu", torch.float64)
        if self._channels == 1:
            return logits
        of_channels = logits.log_softmax(dim=1).unflatten(0, (len(x), self._channels)).unbind(dim=1)
        return functools.reduce(lambda a, b: (a[:, :, None] + b[:, None, :]).flatten(start_dim=1), of_channels)

    def state(self) -> dict[str, Tensor]:
        """The weights, and the reliability that was found."""
        found = {f"reliability.{name}": tensor for name, tensor in self._reliability._asdict().items()}
        return {**state_of(self._network), **found}

    def restore(self, spec: DataSpec, state: Mapping[str, Tensor]) -> None:
        self._network = load(self._use(spec), state, self.device)
        self._reliability = Reliability(*(state[f"reliability.{name}"] for name in Reliability._fields))

    @property
    def fingerprint(self) -> str:
        return f"classifier@{digest_of(self._network)}"


def build(config: ClassifierConfig) -> Classifier:
    return Classifier(config)
