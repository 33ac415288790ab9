"""Weights of the squared error at each noise level: tables (T,) in float64, for diffusion_loss."""

from __future__ import annotations

import torch
from torch import Tensor


def min_snr(levels: Tensor, prediction_type: str, gamma: float = 5.0) -> Tensor:
    """min(SNR, γ) on the error of x₀, in terms of the error of what is predicted (Hang et al., 2023, sec. 3.4).

    levels: (T, 2) of α and σ (genpipe.ops.schedules). For ε it is min(SNR, γ)/SNR, for v min(SNR, γ)/(SNR + 1).
    """
    alpha, sigma = levels.double().unbind(-1)
    snr = (alpha / sigma).square()
    weight = snr.clamp(max=gamma)
    match prediction_type:
        case "epsilon":
            return torch.clamp(gamma / snr, max=1)  # 1 where the SNR is 0
        case "sample":
            return weight
        case "v_prediction":
            return weight * (sigma / (alpha.square() + sigma.square())).square()
        case "velocity":
            return weight * (sigma / (alpha + sigma)).square()
    raise ValueError(
        f"prediction_type is {prediction_type!r}, expected 'epsilon', 'sample', 'v_prediction' or 'velocity'"
    )


def edm(sigmas: Tensor, sigma_data: float = 0.5) -> Tensor:
    """(σ² + σ_data²)/(σ σ_data)² on the error of x₀ (Karras et al., 2022, table 1); measure σ_data on the data."""
    sigmas = sigmas.double()
    return (sigmas.square() + sigma_data**2) / (sigmas * sigma_data).square()
