"""Features of a network that a function of the user's makes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from genpipe.components import load_reference
from genpipe.dataspec import DataSpec
from genpipe.digest import CodeDigests, digest
from genpipe.errors import DataError, UsageError, last_line
from genpipe.evaluation import Examples, LabelledExamples
from genpipe.plugins.own_network.config import ModuleClassifierConfig, ModuleConfig
from genpipe.plugins.own_network.network import Network, OwnNetwork


class Module(OwnNetwork):
    """What `function(spec)` makes gives, (B, D). A torch.nn.Module's tensors are the state; a plain function has none,
    and is known by the source of its package alone."""

    _config: ModuleConfig

    def __init__(self, config: ModuleConfig, name: str) -> None:
        super().__init__(config)
        self.name, self.where = name, config.function

    def prepare(self, spec: DataSpec, split: LabelledExamples | None, train: Examples) -> None:
        self._use(spec, self._made(spec))
        self._try(train)

    def _made(self, spec: DataSpec) -> Network:
        try:
            function = load_reference(self._config.function)
        except (ImportError, AttributeError) as error:
            raise self._error(f"cannot be imported: {last_line(error)}") from None
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # a network that draws its weights draws the same ones each time
                network = function(spec)
        except Exception as error:
            raise self._error(f"fails on the description of data set '{spec.name}': {last_line(error)}") from error
        if not callable(network):
            raise self._error(f"gives a {type(network).__name__}; expected a torch.nn.Module, or a function of a batch")
        made: Network = network
        return made

    def state(self) -> dict[str, Tensor]:
        if not isinstance(self._network, nn.Module):
            return {}
        tensors = self._network.state_dict().items()
        return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors}

    def restore(self, spec: DataSpec, state: Mapping[str, Tensor]) -> None:
        network = self._made(spec)
        if isinstance(network, nn.Module):
            try:
                network.load_state_dict(dict(state))
            except RuntimeError as error:
                raise UsageError(
                    f"features '{self.name}': {self.where} makes another network than it did: {last_line(error)}"
                ) from None
        self._use(spec, network)

    @property
    def fingerprint(self) -> str:
        weights = hashlib.sha256()
        for name, tensor in sorted(self.state().items()):
            weights.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            weights.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
        return f"{self.name}@{self._hash(weights.hexdigest(), fingerprint(self._config))}"


def fingerprint(config: ModuleConfig) -> str:
    """Of the source of the function's module and of all that it imports of its package: part of a step's key."""
    module = config.function.partition(":")[0]
    try:
        found = CodeDigests().closure([module])
    except (ImportError, ValueError) as error:
        raise DataError(f"function: {module} cannot be found: {last_line(error)}") from None
    if module not in found:
        raise DataError(f"function: there is no module {module} that can be imported")
    return digest(found)


def build(config: ModuleConfig) -> Module:
    return Module(config, "module")


def build_classifier(config: ModuleClassifierConfig) -> Module:
    return Module(config, "module_classifier")
