"""The pieces of an ELBO, forward and backward."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from benchmarks.ops.case import Case
from genpipe import ops


def cases(device: str) -> list[Case]:
    mean, log_var = (torch.randn(512, 64, device=device).mul_(0.5).requires_grad_() for _ in range(2))
    logits = torch.randn(512, 784, device=device).requires_grad_()
    x = torch.rand(512, 784, device=device)
    grad_z = torch.randn(512, 64, device=device)
    key = ops.key(0, "benchmark")

    def ours() -> object:
        z, kl = ops.gaussian_reparam(mean, log_var, key)
        loss = ops.elbo_loss(ops.bernoulli_nll(logits, x), kl)
        return torch.autograd.grad((loss, z), (mean, log_var, logits), (None, grad_z))

    def forward() -> tuple[torch.Tensor, torch.Tensor]:
        z = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)
        nll = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
        return (nll + kl).mean(), z

    def nll() -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1).mean()

    def both_ways(forward: Callable[[], object]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(forward(), (mean, log_var, logits), (None, grad_z))

    def nll_both_ways(forward: Callable[[], object]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(forward(), logits)

    image_logits = torch.randn(32, 256, 28, 28, device=device).requires_grad_()
    levels = torch.randint(256, (32, 28, 28), device=device)

    def categorical(logits: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits, levels, reduction="none").sum((1, 2)).mean()

    return [
        Case(
            "ELBO, batch 512, latent 64, outputs 784, both ways",
            ours,
            both_ways(forward),
            compiled=lambda compile: both_ways(compile(forward)),
            goals={"eager": 5.0},
        ),
        Case(
            "Bernoulli NLL, 512×784, both ways",
            lambda: torch.autograd.grad(ops.bernoulli_nll(logits, x).mean(), logits),
            nll_both_ways(nll),
            compiled=lambda compile: nll_both_ways(compile(nll)),
        ),
        Case(
            "categorical NLL, 32×28×28, 256 levels, both ways",
            lambda: torch.autograd.grad(ops.categorical_nll(image_logits, levels).mean(), image_logits),
            lambda: torch.autograd.grad(categorical(image_logits), image_logits),
            compiled=lambda compile: (lambda call: lambda: torch.autograd.grad(call(image_logits), image_logits))(
                compile(categorical)
            ),
            memory_goal=1.0,
        ),
    ]
