"""A sampler's step, with guidance, clipping and noise, and the limit of dynamic thresholding."""

from __future__ import annotations

import torch

from benchmarks.ops.case import Case, label
from genpipe import ops
from genpipe.ops import samplers, schedules


def cases(device: str) -> list[Case]:
    sizes = [(128, 3, 32, 32), (64, 3, 128, 128)]
    return [case for shape in sizes for case in (step(shape, device, True), step(shape, device, False))] + [
        threshold(sizes[1], device)
    ]


def stage(clip: float = 1.0) -> samplers.Stage:
    levels = schedules.descent(schedules.alpha_bar("linear", 1000), schedules.timesteps(1000, 50))
    return samplers.plan("ddpm", levels, "epsilon", guidance_scale=3.0, clip=clip)[20]


def step(shape: tuple[int, ...], device: str, noisy: bool) -> Case:
    x, conditional, unconditional = (torch.randn(shape, device=device) for _ in range(3))
    coefficients = stage().coefficients.clone()
    if not noisy:
        coefficients[5] = 0
    u, w, a, b, _, s, g, clip = coefficients.tolist()
    key = ops.key(0, "benchmark") if noisy else None
    out = torch.empty_like(x)
    # The same bytes in a copy: half of them read, half written.
    moved = torch.empty(2, *shape, device=device), torch.randn(2, *shape, device=device)

    def eager() -> torch.Tensor:
        prediction = unconditional + g * (conditional - unconditional)
        x0 = (u * x + w * prediction).clamp(-clip, clip)
        result = a * x + b * x0
        return result + s * torch.randn_like(x) if noisy else result

    return Case(
        f"sampler step, guidance{' and noise' if noisy else ''}, out=, {label(shape)}",
        lambda: ops.sampler_step(x, conditional, coefficients, unconditional=unconditional, key=key, out=out),
        eager,
        rivals={"limit": lambda: moved[0].copy_(moved[1])},
        goals={"eager": 4.0, "compiled": 1.0, "limit": 1 / 1.3},
    )


def threshold(shape: tuple[int, ...], device: str) -> Case:
    x, prediction = (torch.randn(shape, device=device) for _ in range(2))
    coefficients = stage().coefficients.clone()
    coefficients[6] = 1
    u, w = coefficients[:2].tolist()

    def eager() -> torch.Tensor:
        return (u * x + w * prediction).flatten(1).abs().quantile(0.995, dim=1).clamp(min=1)

    return Case(
        f"dynamic threshold, {label(shape)}",
        lambda: ops.dynamic_threshold(x, prediction, coefficients),
        eager,
        compiled=False,
        goals={"eager": 1.0},
    )
