"""What people hand to a model by its methods, checked once: counts, seeds, examples, codes, a device."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genpipe.errors import DataError, UsageError
from genpipe.noise import Noise

SEEDS = 2**63


def whole_number(name: str, value: Any, least: int) -> int:
    """`value` as an int; UsageError where it is none, or below `least`."""
    number = _index(value)
    if number is None or number < least:
        raise UsageError(f"{name} is {value!r}, expected a whole number from {least} on")
    return number


def noise_of(seed: Any, stream: str, first_index: Any = 0) -> Noise:
    """The random numbers that a caller names; UsageError where seed or first_index name none."""
    number = _index(seed)
    if number is None or not -SEEDS <= number < SEEDS:
        raise UsageError(f"seed is {seed!r}, expected a whole number of 64 bits")
    return Noise(number, stream, whole_number("first_index", first_index, 0))


def _index(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def as_tensor(what: str, value: Any) -> Tensor:
    """A tensor of real numbers from tensors, arrays and lists; DataError for anything else."""
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise DataError(f"{what} is of type {type(value).__name__}, expected a tensor or an array of numbers") from None
    if tensor.is_complex():
        raise DataError(f"{what} is of complex numbers ({tensor.dtype}), expected real ones")
    return tensor


def checked_code(value: Any, shape: Sequence[int], levels: int | None, whose: str) -> Tensor:
    """Codes (B, *shape), int64 where there are `levels` of them; DataError where they are no codes of `whose`."""
    code = as_tensor("the code", value)
    if tuple(code.shape[1:]) != tuple(shape) or code.ndim == 0:
        raise DataError(
            f"the code has shape {tuple(code.shape)}, expected ({', '.join(map(str, ('B', *shape)))}) for {whose}"
        )
    if code.is_floating_point() and not torch.isfinite(code).all():
        raise DataError(f"the code has values that are not finite (for {whose})")
    if levels is None:
        return code
    if code.numel() and (float(code.min()) < 0 or float(code.max()) > levels - 1 or bool((code != code.long()).any())):
        raise DataError(
            f"the code has values in [{float(code.min()):g}, {float(code.max()):g}], expected whole numbers 0 … {levels - 1} "
            f"for {whose}"
        )
    return code.long()


def usable_device(device: Any) -> torch.device:
    """UsageError where there is no such device here."""
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError):
        there = ", ".join(["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
        raise UsageError(f"there is no device {str(device)!r} for torch here; there is {there}") from None
    return found
