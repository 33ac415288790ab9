"""Models of Gaussian data whose network knows the answer."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from genpipe.dataspec import DataSpec
from genpipe.plugins.diffusion.config import DiffusionConfig, FlowMatchingConfig
from genpipe.plugins.diffusion.denoiser import Denoiser
from genpipe.plugins.diffusion.flow_matching import FlowMatching
from genpipe.plugins.diffusion.model import Diffusion

PLANE = DataSpec(name="plane", event="vector", shape=(2,), num_classes=2, mean=(0.0, 0.0), std=(1.0, 1.0))
DIGITS = DataSpec(name="digits", event="image", shape=(1, 8, 8), levels=17, num_classes=10)
VARIANCE = 0.25


def diffusion(spec: DataSpec = PLANE, **options: Any) -> Diffusion:
    torch.manual_seed(0)
    return Diffusion(DiffusionConfig(**options), spec).eval()


def flow_matching(spec: DataSpec = PLANE, **options: Any) -> FlowMatching:
    torch.manual_seed(0)
    return FlowMatching(FlowMatchingConfig(**options), spec).eval()


class Replaced(nn.Module):
    """A network whose output is a function of x and λ alone."""

    guided, hide_labels, label_dropout = Denoiser.guided, Denoiser.hide_labels, 0.0

    def forward(self, x: Tensor, log_snr: Tensor, y: Tensor | None = None, unit: Tensor | float = 1.0) -> Tensor:
        raise NotImplementedError


class IdealDenoiser(Replaced):
    """Predicts exactly for data N(0, variance I): E[ε | x] = σ x / (α² variance + σ²), and the others from it."""

    def __init__(self, predicts: str, variance: float) -> None:
        super().__init__()
        self.predicts, self.variance = predicts, variance

    def forward(self, x: Tensor, log_snr: Tensor, y: Tensor | None = None, unit: Tensor | float = 1.0) -> Tensor:
        log_snr = log_snr.double()
        if self.predicts == "velocity":  # α + σ = 1 there
            alpha, sigma = (log_snr / 2).sigmoid()[:, None], (-log_snr / 2).sigmoid()[:, None]
        else:
            alpha, sigma = (s.sigmoid().sqrt()[:, None] for s in (log_snr, -log_snr))
        total = alpha**2 * self.variance + sigma**2
        e, x0 = sigma * x / total, alpha * self.variance * x / total
        answer = {"epsilon": e, "v_prediction": alpha * e - sigma * x0, "velocity": e - x0}[self.predicts]
        return answer.to(x.dtype)


def ideal(**options: Any) -> Diffusion:
    """Data N(0, VARIANCE I), which EDM takes for larger than it is."""
    model = diffusion(**options)
    if model.is_edm:
        model.sigma_data.fill_(0.8)
    model.network = IdealDenoiser(model.predicts, VARIANCE / float(model.sigma_data) ** 2)
    return model


def exact_log_density(z: Tensor) -> Tensor:
    return -0.5 * (z.square() / VARIANCE + math.log(2 * math.pi * VARIANCE)).sum(1)
