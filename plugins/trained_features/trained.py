"""What both trained extractors are: a network, kept by its weights and known by their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from genpipe.plugins.trained_features.network import initialise

PREFIX = "network."


def make(network: nn.Module, seed: int, device: str) -> nn.Module:
    """With its first weights, on its device."""
    initialise(network, seed)
    return network.to(device)


def undrawn(build: Callable[[], nn.Module]) -> nn.Module:
    """A network whose first weights, which are not used, did not move the caller's generator."""
    with torch.random.fork_rng(devices=[]):
        return build()


def state_of(network: nn.Module) -> dict[str, Tensor]:
    return {f"{PREFIX}{name}": t.detach().to("cpu", copy=True) for name, t in network.state_dict().items()}


def load(network: nn.Module, state: Mapping[str, Tensor], device: str) -> nn.Module:
    """From `state_of`, in eval mode."""
    weights = {name.removeprefix(PREFIX): t for name, t in state.items() if name.startswith(PREFIX)}
    network.load_state_dict(weights)
    return network.to(device).eval()


def digest_of(network: nn.Module) -> str:
    """8 hex digits of the weights' SHA-256. Trained elsewhere, with other threads say, they differ by rounding, and so
    are other weights."""
    whole = hashlib.sha256()
    for name, tensor in state_of(network).items():
        whole.update(name.encode())
        whole.update(tensor.contiguous().numpy().data)
    return whole.hexdigest()[:8]


@contextmanager
def exactly() -> Iterator[None]:
    """The same numbers each time, also on a GPU."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield
