"""Diffusion's forward process, its targets and its loss."""

from __future__ import annotations

from torch import Tensor

from genpipe.ops.reference._rows import row_sum


def level(schedule: Tensor, t: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor]:
    """α_t and σ_t, (B, 1, …), of a schedule (T,) of ᾱ or (T, 2) of α and σ."""
    values = schedule.double() if t is None else schedule.double()[t]
    alpha, sigma = values.unbind(1) if schedule.dim() == 2 else (values.sqrt(), (1 - values).sqrt())
    shape = (len(like), *[1] * (like.dim() - 1))
    return alpha.to(like.dtype).reshape(shape), sigma.to(like.dtype).reshape(shape)


def q_sample(x0: Tensor, t: Tensor | None, schedule: Tensor, noise: Tensor) -> Tensor:
    """α_t x₀ + σ_t ε."""
    alpha, sigma = level(schedule, t, x0)
    return alpha * x0 + sigma * noise


def q_sample_target(x0: Tensor, t: Tensor | None, schedule: Tensor, noise: Tensor, prediction_type: str) -> Tensor:
    """ε, x₀, α_t ε − σ_t x₀ or ε − x₀."""
    alpha, sigma = level(schedule, t, x0)
    if prediction_type == "v_prediction":
        return alpha * noise - sigma * x0
    return {"epsilon": noise, "sample": x0, "velocity": noise - x0}[prediction_type]


def diffusion_loss(
    prediction: Tensor,
    x0: Tensor,
    t: Tensor | None,
    schedule: Tensor,
    noise: Tensor,
    prediction_type: str = "epsilon",
    weights: Tensor | None = None,
) -> Tensor:
    """w_t Σ(prediction − target)²."""
    loss = row_sum((prediction - q_sample_target(x0, t, schedule, noise, prediction_type)).square())
    if weights is None:
        return loss
    return (weights if t is None else weights[t]).to(loss.dtype) * loss
