"""What training says when it diverges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genpipe.training.config import TrainConfig
from genpipe.training.divergence import astray, divergence


def text(step: int, history: list[dict[str, float]], checkpoint: Path | None = None, **options: Any) -> str:
    config = TrainConfig(**{"steps": 2000, **options})
    terms = {"loss": float("nan"), "kl": 3.5}
    found = divergence(
        "vae", config, step=step, what="the loss is not finite", terms=terms, history=history, checkpoint=checkpoint
    )
    return str(found)


def test_a_sudden_end_is_told_with_its_step_its_terms_and_overrides_to_try() -> None:
    assert text(431, [{"step": 400, "learning_rate": 1e-3, "loss": 2.31}], Path("scratch/checkpoint-00000400")) == (
        "family 'vae' diverged at step 431 of 2000: the loss is not finite (loss nan, kl 3.5); the loss was 2.31 at step "
        "400; the last good checkpoint is scratch/checkpoint-00000400. Try train.learning_rate=0.0007 (now 0.002) or "
        "train.clip_norm=0.3 (now 1)"
    )


def test_a_climb_is_told_with_where_it_began() -> None:
    history = [{"step": 50, "loss": 2.0}, {"step": 100, "loss": 1.5}, {"step": 120, "validation_loss": 9}]
    told = text(190, [*history, {"step": 150, "loss": 870.0}])
    assert "the loss was 870 at step 150, up from 1.5 at step 100; no checkpoint was written before" in told


def test_remedies_are_those_of_the_settings() -> None:
    early = text(7, [], clip_norm=None, precision="bfloat16", warmup_steps=0)
    assert "the loss was" not in early
    assert "or train.clip_norm=1 (now off)" in early
    assert "or train.warmup_steps=100 (now 0)" in early
    assert early.endswith("or train.precision=float32 (now bfloat16)")
    assert "warmup" not in text(1500, [])


def test_a_training_that_ends_far_above_its_beginning_is_doubted_and_others_are_not() -> None:
    config = TrainConfig(learning_rate=30)
    high = [{"step": 50, "loss": 4e9}, {"step": 100, "loss": 5e9}]
    told = astray("vae", config, 2.0, high)
    assert told is not None
    assert "began at a loss of 2 and ended at 5e+09: training went astray. Try train.learning_rate=10 (now 30)" in told
    assert astray("vae", config, None, high) is None, "the first logged loss stands for a first one that is not known"
    assert astray("gan", config, -3.0, [{"step": 50, "loss": 900.0}]) is None
    assert astray("vae", config, None, []) is None
