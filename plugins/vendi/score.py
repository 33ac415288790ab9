"""The Vendi score of a set of feature vectors, and its standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Spectrum:
    """shares: (r,), the eigenvalues of K / N, whose sum is 1, K being the cosines between N examples.

    parts: (N, r), how much of each example lies along each eigenvector; its mean over examples is `shares`.
    """

    shares: Tensor
    parts: Tensor


def spectrum(features: Tensor) -> Spectrum:
    """features: (N, D) float64. K / N and the mean of x̂ x̂ᵀ, x̂ = x / ‖x‖, have the same eigenvalues; the smaller of the two
    is decomposed."""
    norms = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    unit = features / norms.masked_fill(norms == 0, 1.0)
    if bool((norms == 0).any()):
        # Zeros are like each other and nothing else: a direction of their own.
        unit = torch.cat([unit, (norms == 0).to(unit.dtype)], dim=1)
    num, dims = unit.shape
    if dims < num:
        shares, vectors = torch.linalg.eigh(unit.T @ unit / num)
        return Spectrum(shares.clamp(min=0), (unit @ vectors).square())
    shares, vectors = torch.linalg.eigh(unit @ unit.T / num)
    shares = shares.clamp(min=0)
    return Spectrum(shares, vectors.square() * (num * shares))


def vendi(found: Spectrum) -> tuple[float, float]:
    """exp(−Σ λ log λ) (Friedman & Dieng, 2023, eq. 3), from 1 to min(N, D), and its standard error.

    Weight on an example x̂ changes the entropy by −x̂ᵀ log(ρ) x̂ − entropy, ρ being the mean of x̂ x̂ᵀ.
    """
    surprise = -torch.where(found.shares > 0, found.shares, 1.0).log()
    entropy = found.parts @ surprise
    value = math.exp(float(found.shares @ surprise))
    return value, value * _error_of_mean(entropy)


def vendi_infinity(found: Spectrum) -> tuple[float, float]:
    """1 / max λ (Pasarkar & Dieng, 2024, eq. 3 for q → ∞), and its standard error."""
    top = int(found.shares.argmax())
    value = 1 / float(found.shares[top])
    return value, value**2 * _error_of_mean(found.parts[:, top])


def _error_of_mean(x: Tensor) -> float:
    return float(x.std(correction=1)) / math.sqrt(len(x))
