"""The likelihood under mixtures of discretised logistics, forward and backward."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.ops.case import Case
from genpipe import ops


def vectorised(params: Tensor, x: Tensor) -> Tensor:
    """−log p(x), (B,), as PyTorch ports of the paper's code have it, with all channels side by side."""
    components = params.shape[1] // 10
    maps = params.unflatten(1, (10, components))  # (B, 10, K, H, W)
    means, log_scales, coefficients = maps[:, 1:4], maps[:, 4:7].clamp(min=-7), maps[:, 7:].tanh()
    red, green, _ = (channel[:, None] for channel in x.unbind(1))
    means = torch.stack(
        [
            means[:, 0],
            means[:, 1] + coefficients[:, 0] * red,
            means[:, 2] + coefficients[:, 1] * red + coefficients[:, 2] * green,
        ],
        dim=1,
    )
    value = x[:, :, None]
    centred, inverse = value - means, (-log_scales).exp()
    upper, lower = inverse * (centred + 1 / 255), inverse * (centred - 1 / 255)
    mass = upper.sigmoid() - lower.sigmoid()
    middle = inverse * centred
    density = middle - log_scales - 2 * F.softplus(middle) - 4.848116  # log 127.5
    inner = torch.where(mass > 1e-5, mass.clamp(min=1e-12).log(), density)
    log_mass = torch.where(
        value < -0.999, upper - F.softplus(upper), torch.where(value > 0.999, -F.softplus(lower), inner)
    )
    return -(log_mass.sum(1) + maps[:, 0].log_softmax(1)).logsumexp(1).sum((1, 2))


def cases(device: str) -> list[Case]:
    params = torch.randn(16, 100, 32, 32, device=device).requires_grad_()
    levels = torch.randint(256, (16, 3, 32, 32), device=device, dtype=torch.uint8)
    x = levels.float() * (2 / 255) - 1
    return [
        Case(
            "logistic-mixture NLL, 16×3×32×32, 10 components, both ways",
            lambda: torch.autograd.grad(ops.discretized_logistic_mixture_nll(params, levels).mean(), params),
            lambda: torch.autograd.grad(vectorised(params, x).mean(), params),
            compiled=lambda compile: (lambda call: lambda: torch.autograd.grad(call(params, x).mean(), params))(
                compile(vectorised)
            ),
            goals={"eager": 6.0, "compiled": 2.0},
            memory_goal=1 / 3,
        )
    ]
