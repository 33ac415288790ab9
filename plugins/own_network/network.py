"""What a user's network is checked for before its numbers are believed."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError, last_line
from genpipe.evaluation import Examples, FeatureExtractor
from genpipe.feature_input import read
from genpipe.plugins.own_network.config import LogitsConfig, Output, OwnNetworkConfig
from genpipe.plugins.own_network.network_input import NetworkInput

PROBES = 4  # training examples that it is tried on
TOLERANCE = 1e-3  # of features of one example in two batches, relative to their size: float32 and other kernels
Network = Callable[..., Any]


class OwnNetwork(FeatureExtractor):
    """Base of both kinds. name: of the features; where: the user's name of the network, for messages.

    The network is in eval mode, without gradients; that it gives (B, D) finite numbers, the same each time, and that an
    example's depend on no other's, is tried on training examples before anything rests on it.
    """

    name: str
    where: str
    _network: Network

    def __init__(self, config: OwnNetworkConfig) -> None:
        self._config = config

    def _use(self, spec: DataSpec, network: Network) -> None:
        self._input = NetworkInput(spec, self._config, self.name)
        if isinstance(network, nn.Module):
            network.to(self.device).eval()
            learning = [name or "itself" for name, part in network.named_modules() if part.training]
            if learning:
                raise self._error(f"is still in training mode after eval(): {', '.join(learning[:4])}")
        self._network = network

    def _try(self, train: Examples) -> None:
        """UsageError where what it gives is not what features are."""
        x = read(train, slice(0, PROBES))
        calls = [self.__call__, self.logits] if isinstance(self._config, LogitsConfig) else [self.__call__]
        for call in calls:
            whole, again = call(x), call(x)
            scale = float(whole.abs().max()) or 1.0
            if float((whole - again).abs().max()) > 1e-5 * scale:
                raise self._error("gives other numbers for the same examples: dropout or noise is left on")
            alone = torch.cat([call(x[i : i + 1]) for i in range(len(x))])
            if float((whole - alone).abs().max()) > TOLERANCE * scale:
                raise self._error(
                    "gives an example other numbers beside other examples: is batch normalisation in training mode?"
                )

    def __call__(self, x: Tensor) -> Tensor:
        return self._called(x, self._config.arguments, self._config.output, "features")

    def logits(self, x: Tensor) -> Tensor:
        config = self._config
        if not isinstance(config, LogitsConfig):
            return super().logits(x)
        arguments = config.arguments if config.logits_arguments is None else config.logits_arguments
        values = self._called(x, arguments, config.logits_output, "logits")
        if not config.probabilities:
            return values
        if bool((values < 0).any()) or bool(((values.sum(dim=1) - 1).abs() > TOLERANCE).any()):
            raise self._error("gives logits that are no probabilities: they are below 0, or do not add up to 1")
        return values.clamp(min=torch.finfo(torch.float32).tiny).log()

    @torch.no_grad()
    def _called(self, x: Tensor, arguments: Mapping[str, Any], output: Output | None, what: str) -> Tensor:
        z = self._input(x.to(self.device))
        given = f"a batch of shape {tuple(z.shape)} and type {str(z.dtype).removeprefix('torch.')}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the user's code, batch after batch
                answer = self._network(z, **arguments)
        except Exception as error:
            raise self._error(f"fails on {given}: {type(error).__name__}: {last_line(error)}") from error
        values = self._picked(answer, output, what)
        if values.ndim != 2 or len(values) != len(x) or not values.is_floating_point():
            kind = str(values.dtype).removeprefix("torch.")
            raise self._error(f"gives {what} {kind} {tuple(values.shape)} for {given}; expected floats ({len(x)}, D)")
        if not bool(values.isfinite().all()):
            raise self._error(f"gives {what} that are not finite for {given}")
        return values.to("cpu", torch.float64)

    def _picked(self, answer: Any, output: Output | None, what: str) -> Tensor:
        option = "output" if what == "features" else "logits_output"
        if output is not None:
            try:
                answer = answer[output]
            except (KeyError, IndexError, TypeError):
                there = list(answer) if isinstance(answer, Mapping) else f"{type(answer).__name__}"
                raise self._error(f"has no output {output!r} for its {what} ({option}); it gives {there}") from None
        if not isinstance(answer, Tensor):
            raise self._error(f"gives a {type(answer).__name__} for its {what}; expected a tensor, or set {option}")
        return answer

    def _error(self, message: str) -> UsageError:
        return UsageError(f"features '{self.name}': {self.where} {message}")

    def _hash(self, *parts: str) -> str:
        """8 hex digits of what it is and of what it is fed."""
        options = self._config.model_dump(mode="json", exclude={"path", "sha256"})
        return hashlib.sha256(json.dumps([parts, options], sort_keys=True).encode()).hexdigest()[:8]
