"""The masked convolution beside conv2d of masked weights and beside the one cropped convolution that does the same; the
gated activation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.ops.case import Case, label
from genpipe import ops
from genpipe.ops import reference
from genpipe.ops.masked_conv import MaskType

Conv = Callable[..., Any]


def convolutions(
    batch: int, channels: int, out: int, size: int, kernel: int, mask_type: MaskType, device: str, dtype: torch.dtype
) -> tuple[dict[str, Conv], tuple[Tensor, ...], Tensor]:
    """The sides, what they are differentiable in, and a gradient towards their output."""
    numbers = torch.randn(batch, channels, size, size, device=device, dtype=dtype)
    x = numbers.requires_grad_(channels > 3)  # images want no gradient
    weight = (torch.randn(out, channels, kernel, kernel, device=device) * 0.1).to(dtype).requires_grad_()
    bias = torch.randn(out, device=device, dtype=dtype).requires_grad_()
    mask = reference.conv_mask(out, channels, (kernel, kernel), mask_type).to(device, dtype)
    half = kernel // 2

    def eager() -> Tensor:
        return F.conv2d(x, weight * mask, bias, padding=half)

    def cropped() -> Tensor:
        rows = (weight * mask)[:, :, : half + 1]
        return F.conv2d(F.pad(x, (0, 0, half, 0)), rows, bias, padding=(0, half))

    sides = {
        "ours": lambda: ops.masked_conv2d(x, weight, bias, mask_type=mask_type),
        "eager": eager,
        "cropped": cropped,
    }
    return sides, (x, weight, bias) if x.requires_grad else (weight, bias), torch.randn_like(eager())


def without_gradient(conv: Conv) -> Conv:
    def run() -> object:
        with torch.no_grad():
            return conv()

    return run


def pair(
    batch: int,
    channels: int,
    out: int,
    size: int,
    kernel: int,
    mask_type: MaskType,
    device: str,
    dtype: torch.dtype = torch.float32,
    goals: tuple[float, float] | None = None,
) -> list[Case]:
    """Forward, and forward with backward; goals: of both, against eager. Ours is to be ahead of cropped as well."""
    sides, leaves, towards = convolutions(batch, channels, out, size, kernel, mask_type, device, dtype)
    kind = "" if dtype == torch.float32 else f", {str(dtype).removeprefix('torch.')}"
    name = f"masked conv {kernel}×{kernel} {mask_type}, {channels} to {out}, {label((batch, size, size))}{kind}"

    def both_ways(conv: Conv) -> Callable[[], object]:
        return lambda: torch.autograd.grad(conv(), leaves, towards)

    def targets(eager: float) -> dict[str, float]:
        return {"eager": eager, "cropped": 1.0}

    return [
        Case(
            f"{name}, forward",
            without_gradient(sides["ours"]),
            without_gradient(sides["eager"]),
            compiled=lambda compile: without_gradient(compile(sides["eager"])),
            rivals={"cropped": without_gradient(sides["cropped"])},
            goals=targets(goals[0]) if goals else {},
        ),
        Case(
            f"{name}, both ways",
            both_ways(sides["ours"]),
            both_ways(sides["eager"]),
            compiled=lambda compile: both_ways(compile(sides["eager"])),
            rivals={"cropped": both_ways(sides["cropped"])},
            goals=targets(goals[1]) if goals else {},
        ),
    ]


def gates(batch: int, channels: int, size: int, device: str) -> list[Case]:
    """The vertical stack's share, added before the gate."""
    x, addend = (torch.randn(batch, 2 * channels, size, size, device=device).requires_grad_() for _ in range(2))
    towards = torch.randn(batch, channels, size, size, device=device)

    def eager() -> Tensor:
        a, b = (x + addend).chunk(2, dim=1)
        return a.tanh() * b.sigmoid()

    def both_ways(gate: Conv) -> Conv:
        return lambda: torch.autograd.grad(gate(), (x, addend), towards)

    def ours() -> Tensor:
        return ops.gated_activation(x, addend)

    name = f"gated activation, {label((batch, 2 * channels, size, size))}"
    return [
        Case(
            f"{name}, forward",
            without_gradient(ours),
            without_gradient(eager),
            compiled=lambda compile: without_gradient(compile(eager)),
        ),
        Case(
            f"{name}, both ways",
            both_ways(ours),
            both_ways(eager),
            compiled=lambda compile: both_ways(compile(eager)),
        ),
    ]


def cases(device: str) -> list[Case]:
    if device == "cpu":
        return [
            *gates(64, 64, 28, device),
            *pair(64, 64, 64, 28, 3, "B", device, goals=(1.6, 1.5)),
            *pair(64, 1, 64, 28, 7, "A", device),
            *pair(16, 128, 128, 32, 3, "B", device),
        ]
    torch.backends.cudnn.allow_tf32 = False  # float32 beside float32
    every_pair = [
        case
        for dtype in (torch.float32, torch.bfloat16)
        for channels in (64, 128, 256)
        for case in pair(64, channels, channels, 32, 3, "B", device, dtype, goals=(1.4, 1.4))
    ]
    return [*gates(64, 64, 28, device), *every_pair]
