"""Diffusion's forward process and its loss."""

from __future__ import annotations

import torch

from benchmarks.ops.case import Call, Case, label
from genpipe import ops


def cases(device: str) -> list[Case]:
    sizes = [((128, 3, 32, 32), 4.0), ((64, 3, 128, 128), 6.0)]
    forward = [case for shape, goal in sizes for case in q_sample(shape, device, goal)]
    return [*forward, *(loss(shape, device) for shape, _ in sizes)]


def q_sample(shape: tuple[int, ...], device: str, goal: float) -> list[Case]:
    x0 = torch.randn(shape, device=device)
    t = torch.randint(0, 1000, shape[:1], device=device)
    table = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64, device=device), 0)
    table32 = table.float()
    noise, out = torch.randn_like(x0), torch.empty_like(x0)
    key = ops.key(0, "benchmark")
    view = (-1,) + (1,) * (len(shape) - 1)

    def eager(noise: torch.Tensor) -> torch.Tensor:
        level = table32[t].view(view)
        return level.sqrt() * x0 + (1 - level).sqrt() * noise

    def eager_with_noise() -> tuple[torch.Tensor, torch.Tensor]:
        noise = torch.randn_like(x0)
        return eager(noise), noise

    return [
        Case(
            f"q_sample, noise given, out=, {label(shape)}",
            lambda: ops.q_sample(x0, t, table, noise=noise, out=out),
            lambda: eager(noise),
            rivals={"limit": lambda: torch.add(x0, noise, out=out)},
            goals={"limit": 1 / 1.15},
        ),
        Case(
            f"q_sample, noise generated, {label(shape)}",
            lambda: ops.q_sample(x0, t, table, key=key),
            lambda: eager_with_noise()[0],
            goals={"eager": goal, "compiled": 1.0},
        ),
        Case(
            f"q_sample, noise generated and kept, {label(shape)}",
            lambda: ops.q_sample_with_noise(x0, t, table, key),
            eager_with_noise,
            goals={"compiled": 1.0},
        ),
    ]


def loss(shape: tuple[int, ...], device: str) -> Case:
    """What a training step does besides the network: x_t, the loss of v-prediction with min-SNR weights, and back."""
    x0 = torch.randn(shape, device=device)
    prediction = torch.randn(shape, device=device, requires_grad=True)
    t = torch.randint(0, 1000, shape[:1], device=device)
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64, device=device), 0)
    alpha, sigma = alpha_bar.sqrt().float(), (1 - alpha_bar).sqrt().float()
    snr = alpha_bar / (1 - alpha_bar)
    weights = (snr.clamp(max=5) / (snr + 1)).float()
    key = ops.key(0, "benchmark")
    view = (-1,) + (1,) * (len(shape) - 1)

    def forward() -> tuple[torch.Tensor, torch.Tensor]:
        noise = torch.randn_like(x0)
        a, s = alpha[t].view(view), sigma[t].view(view)
        target = a * noise - s * x0
        errors = (prediction - target).square().flatten(1).sum(1)
        return a * x0 + s * noise, (weights[t] * errors).mean()

    def both_ways(forward: Call) -> Call:
        def run() -> object:
            x_t, value = forward()
            return x_t, torch.autograd.grad(value, prediction)

        return run

    def ours() -> object:
        x_t = ops.q_sample(x0, t, alpha_bar, key=key)
        value = ops.diffusion_loss(
            prediction, x0, t, alpha_bar, weights=weights, key=key, prediction_type="v_prediction"
        )
        return x_t, torch.autograd.grad(value.mean(), prediction)

    return Case(
        f"x_t and the weighted loss both ways, {label(shape)}",
        ours,
        both_ways(forward),
        compiled=lambda compile: both_ways(compile(forward)),
        goals={"compiled": 1.0},
    )
