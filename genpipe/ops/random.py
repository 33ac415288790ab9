"""Counter-based random numbers: functions of (seed, stream, global sample index, position), and of nothing else.

Sample ``first_index + i`` of a stream is the same numbers whatever the batch that it comes in, the number of threads,
the processor or the device. All are pure: they compile, export and run under CUDA graphs. Float32 and bfloat16
take 32 random bits per element, float64 and integers 64, the leading 32 the same: a float64 refines the float32 of
its place.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from genpipe.ops import _extension  # noqa: F401


def normal(
    key: Tensor,
    shape: Sequence[int],
    *,
    first_index: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Standard normals, (B, *event), by Box and Muller; contiguous.

    key: int64 (2,), from ops.key; shape: (B, *event); first_index: the global index of the first sample, at least 0;
    dtype: float32 (|z| up to 6.7), float64 (up to 8.6) or bfloat16 (the float32, rounded); device: the key's where
    not given. RuntimeError names what is wrong.
    """
    return torch.ops.genpipe.normal(key, list(shape), first_index, dtype, device_of(key, device))


def uniform(
    key: Tensor,
    shape: Sequence[int],
    *,
    first_index: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Uniforms, (B, *event), in [0, 1): 0 can occur, 1 cannot.

    They are multiples of 2**-24 in float32, 2**-53 in float64 and 2**-8 in bfloat16. Arguments as for normal.
    """
    return torch.ops.genpipe.uniform(key, list(shape), first_index, dtype, device_of(key, device))


def gumbel(
    key: Tensor,
    shape: Sequence[int],
    *,
    first_index: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Standard Gumbel variates −log(−log(1−u)), (B, *event): (logits + gumbel).argmax(-1) is a draw from softmax.

    In [−3.1, 22.2] in float32, whose upper tail, the one that decides an argmax, keeps its relative precision;
    [−3.6, 36.8] in float64; bfloat16 is the float32, rounded. Arguments as for normal.
    """
    return torch.ops.genpipe.gumbel(key, list(shape), first_index, dtype, device_of(key, device))


def rademacher(
    key: Tensor,
    shape: Sequence[int],
    *,
    first_index: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Signs, (B, *event), 1 or −1 with probability ½ each: the probes of Hutchinson's trace estimator.

    Arguments as for normal.
    """
    return torch.ops.genpipe.rademacher(key, list(shape), first_index, dtype, device_of(key, device))


def bernoulli(key: Tensor, probs: Tensor, *, first_index: int = 0) -> Tensor:
    """1 with probability probs, else 0; of probs' shape, dtype and device, contiguous, without a gradient.

    key: int64 (2,); probs: (B, *event), float32, float64 or bfloat16, in [0, 1]; the result is NaN where it is not.
    first_index: the global index of the first sample. Probabilities count to 2**-32, in float64 to 2**-53.
    """
    return torch.ops.genpipe.bernoulli(key, probs.detach(), first_index)


def randint(
    key: Tensor,
    high: int,
    shape: Sequence[int],
    *,
    first_index: int = 0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Integers, int64 (B, *event), in [0, high), high at least 1.

    Each is floor(bits * high / 2**64) of 64 random bits, so that a value's probability is within 2**-64 of 1 / high.
    """
    return torch.ops.genpipe.randint(key, high, list(shape), first_index, device_of(key, device))


def device_of(key: Tensor, device: torch.device | str | None) -> torch.device:
    """The device that is asked for, with its index; the key's where none is."""
    if device is None:
        return key.device
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


@torch.library.register_fake("genpipe::normal")
def _(key, size, first_index, dtype, device):
    return torch.empty(size, dtype=dtype, device=device)


@torch.library.register_fake("genpipe::uniform")
def _(key, size, first_index, dtype, device):
    return torch.empty(size, dtype=dtype, device=device)


@torch.library.register_fake("genpipe::gumbel")
def _(key, size, first_index, dtype, device):
    return torch.empty(size, dtype=dtype, device=device)


@torch.library.register_fake("genpipe::rademacher")
def _(key, size, first_index, dtype, device):
    return torch.empty(size, dtype=dtype, device=device)


@torch.library.register_fake("genpipe::bernoulli")
def _(key, probs, first_index):
    return torch.empty(probs.shape, dtype=probs.dtype, device=probs.device)


@torch.library.register_fake("genpipe::randint")
def _(key, high, size, first_index, device):
    return torch.empty(size, dtype=torch.int64, device=device)
