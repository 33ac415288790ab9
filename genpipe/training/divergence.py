"""What training says when it diverges: where, by which numbers, how it had been going, and what to change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from genpipe.errors import DivergedError
from genpipe.training.config import TrainConfig

EARLY = 0.05  # share of the steps within which a gentler start is what helps
LONGEST_WARMUP = 500
ASTRAY = 1000.0  # times the first loss, or nats where that is small: no family ends there that learnt anything


def divergence(
    family: str,
    config: TrainConfig,
    *,
    step: int,
    what: str,
    terms: Mapping[str, float],
    history: Sequence[Mapping[str, float]],
    checkpoint: Path | None,
) -> DivergedError:
    """The error. step: the one that diverged, from 1 on; what: what was found; terms: of that step; history: logged
    entries; checkpoint: the newest, which is from before."""
    values = ", ".join(f"{name} {value:g}" for name, value in terms.items())
    parts = [f"family '{family}' diverged at step {step} of {config.steps}: {what}{f' ({values})' if values else ''}"]
    if course := _course(history):
        parts.append(course)
    parts.append(
        f"the last good checkpoint is {checkpoint}" if checkpoint is not None else "no checkpoint was written before"
    )
    return DivergedError(f"{'; '.join(parts)}. Try {' or '.join(_remedies(config, step))}")


def astray(
    family: str, config: TrainConfig, first_loss: float | None, history: Sequence[Mapping[str, float]]
) -> str | None:
    """What to say of a training that ended far above where it began, all numbers being finite; None of others.

    first_loss: that of the first step; None, of a training that went on, takes the first logged one."""
    logged = [entry["loss"] for entry in history if "loss" in entry]
    if not logged:
        return None
    began = logged[0] if first_loss is None else first_loss
    if logged[-1] <= began + ASTRAY * max(1.0, abs(began)):
        return None
    return (
        f"family '{family}' began at a loss of {began:.4g} and ended at {logged[-1]:.4g}: training went astray. Try "
        + " or ".join(_remedies(config, 1))
    )


def _course(history: Sequence[Mapping[str, float]]) -> str:
    """The lowest logged loss and the last, which tells a sudden end from a long climb."""
    logged = [entry for entry in history if math.isfinite(entry.get("loss", math.nan))]
    if not logged:
        return ""
    best, last = min(logged, key=lambda entry: entry["loss"]), logged[-1]
    told = f"the loss was {last['loss']:.4g} at step {last['step']:.0f}"
    return told if best is last else f"{told}, up from {best['loss']:.4g} at step {best['step']:.0f}"


def _remedies(config: TrainConfig, step: int) -> Iterator[str]:
    """Overrides to type, the likeliest first."""
    yield f"train.learning_rate={_rounded(config.learning_rate / 3)} (now {config.learning_rate:g})"
    if config.clip_norm is None:
        yield "train.clip_norm=1 (now off)"
    else:
        yield f"train.clip_norm={_rounded(config.clip_norm / 3)} (now {config.clip_norm:g})"
    warmup = min(max(4 * config.warmup_steps, 100), LONGEST_WARMUP, config.steps // 4)
    if step <= max(EARLY * config.steps, config.warmup_steps) and warmup > config.warmup_steps:
        yield f"train.warmup_steps={warmup} (now {config.warmup_steps})"
    if config.precision != "float32":
        yield f"train.precision=float32 (now {config.precision})"


def _rounded(value: float) -> str:
    """One digit, as people write learning rates."""
    return f"{float(f'{value:.0e}'):g}"
