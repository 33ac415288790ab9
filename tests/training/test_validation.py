"""Early stopping: the weights that did best on held-out examples, whoever is killed and however many workers there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from genpipe.data import Split
from genpipe.errors import DataError, DivergedError, UsageError
from genpipe.model import Model
from genpipe.noise import Noise
from genpipe.steps import ProgressFile
from genpipe.training.config import TrainConfig
from genpipe.training.group import Group
from genpipe.training.loop import TrainResult, train
from tests.training.lockstep import in_lockstep
from tests.training.toys import SPEC, Codebook, Pair, Stop, StopAt, Tiny, plane, same_weights

OPTIONS: dict[str, Any] = {
    "steps": 60,
    "batch_size": 8,
    "warmup_steps": 0,
    "log_every": 7,
    "validate_every": 5,
    "learning_rate": 0.05,
    "schedule": "constant",
}


class Climbs(Tiny):
    """Its validation loss falls until step 20 of 60, then rises: a walk away from the held-out examples' mean."""

    def __init__(self) -> None:
        super().__init__(dropout=0)

    def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
        bias = self.second.bias
        return {"loss": ((bias - z - 4).square().mean() + 0 * sum(p.sum() for p in self.parameters()))}

    def validation_loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        return (self.second.bias - z - 1).square().mean()


class Watched(Codebook):
    """A codebook whose buffers move with every step, and which rises and falls as `Climbs`."""

    def validation_loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        return (self.codes.mean() - noise.uniform("target", (len(z),)).mean() + 0.1).square() + z.mean() * 0


def held_out(num: int = 21) -> Split:
    x = np.random.default_rng(1).normal(size=(num, 2)).astype(np.float32)
    return Split(SPEC, "validation", x, None)


def run(
    model: Tiny,
    scratch: Path,
    progress: Any = None,
    group: Group | None = None,
    validation: Split | None = None,
    **options: Any,
) -> TrainResult:
    return train(
        model,
        plane(),
        TrainConfig(**{**OPTIONS, **options}),
        seed=7,
        device="cpu",
        scratch=scratch,
        progress=progress or ProgressFile(None),
        group=group,
        validation=held_out() if validation is None else validation,
    )


def looks(result: TrainResult) -> dict[int, float]:
    return {int(e["step"]): e["validation_loss"] for e in result.history if "validation_loss" in e}


@pytest.mark.parametrize("ema_decay", [0.0, 0.8])
def test_the_model_ends_with_the_weights_that_did_best_on_held_out_examples(tmp_path: Path, ema_decay: float) -> None:
    model = Climbs()
    result = run(model, tmp_path, ema_decay=ema_decay)
    found = looks(result)
    assert list(found) == list(range(5, 61, 5))
    best = min(found, key=lambda step: found[step])
    assert 5 < best < 60
    assert result.numbers["best_step"] == best
    assert result.numbers["validation_loss"] == found[best]
    z = torch.from_numpy(held_out().x)
    with torch.no_grad():
        assert float(model.eval().validation_loss(z, None, Noise(0, ""))) == pytest.approx(found[best], rel=1e-6)
    shorter = Climbs()
    run(shorter, tmp_path / "shorter", ema_decay=ema_decay, steps=best)
    assert same_weights(model, shorter)


def test_training_stops_when_patience_is_at_an_end_and_has_the_same_weights(tmp_path: Path) -> None:
    whole, stopped = Climbs(), Climbs()
    best = run(whole, tmp_path / "whole").numbers["best_step"]
    result = run(stopped, tmp_path / "stopped", patience=3)
    assert result.steps == best + 15
    assert result.history[-1]["step"] == result.steps
    assert "loss" in result.history[-1]
    assert same_weights(whole, stopped)


@pytest.mark.parametrize("left", [2, 7, 13])
@pytest.mark.parametrize("make", [Climbs, Watched])
def test_killed_and_started_again_it_ends_with_the_same_weights_and_history(
    tmp_path: Path, make: Any, left: int
) -> None:
    undisturbed, model = make(), make()
    expected = run(undisturbed, tmp_path / "undisturbed", patience=3)
    with pytest.raises(Stop):
        run(model, tmp_path / "killed", StopAt(expected.steps - left), patience=3, checkpoint_every=4)
    again = make()
    result = run(again, tmp_path / "killed", patience=3, checkpoint_every=4)
    assert result.resumed_from
    assert result.history == expected.history
    assert result.numbers == expected.numbers
    assert same_weights(undisturbed, again)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("accumulation", [1, 4])
def test_workers_look_at_all_held_out_examples_and_stop_together(tmp_path: Path, size: int, accumulation: int) -> None:
    """21 held-out examples in batches of 8 or 2: some batches leave a worker none."""
    alone = Climbs()
    expected = run(alone, tmp_path / "alone", patience=3, accumulation=accumulation)
    models = [Climbs() for _ in range(size)]
    results = in_lockstep(
        size,
        lambda group: run(models[group.rank], tmp_path / "group", group=group, patience=3, accumulation=accumulation),
    )
    for model, result in zip(models, results, strict=True):
        assert result.steps == expected.steps
        assert looks(result) == pytest.approx(looks(expected), rel=1e-5)
        assert same_weights(model, models[0])
        torch.testing.assert_close(model.state_dict(), alone.state_dict(), rtol=1e-4, atol=1e-5)
    # who asked the group to train finds the finished state, and trains no further
    asker = Climbs()
    result = run(asker, tmp_path / "group", patience=3, accumulation=accumulation)
    assert (result.resumed_from, result.steps) == (expected.steps, expected.steps)
    assert same_weights(asker, models[0])


def test_looking_changes_nothing_of_the_training(tmp_path: Path) -> None:
    def losses(name: str, **options: Any) -> list[float]:
        result = run(Tiny(dropout=0.5), tmp_path / name, **options)
        return [entry["loss"] for entry in result.history if "loss" in entry]

    assert losses("with") == losses("without", validate_every=None)


def test_what_cannot_be_watched_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"train\.validate_every: family 'tiny' has no loss of held-out examples"):
        run(Unwatchable(), tmp_path)
    with pytest.raises(DataError, match=r"set data\.validation_fraction above 0"):
        run(Climbs(), tmp_path, validation=held_out(0))
    with pytest.raises(ValidationError, match="patience is 3 and validate_every is not set"):
        TrainConfig(patience=3)


class Unwatchable(Pair):
    loss = Model.loss


def test_a_held_out_loss_that_is_not_finite_is_a_divergence_and_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    class Breaks(Climbs):
        def validation_loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
            loss = super().validation_loss(z, y, noise)
            return loss if float(self.second.bias.detach().mean()) < 1 else loss * float("inf")

    with pytest.raises(DivergedError, match=r"the loss of the validation split is not finite .*checkpoint-000000"):
        run(Breaks(), tmp_path, checkpoint_every=5)
    assert json.loads((max(tmp_path.glob("checkpoint-*")) / "state.json").read_text())["validation"]["best_loss"] > 0
