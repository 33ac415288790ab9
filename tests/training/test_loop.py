"""The training loop: resumption, divergence, contracts, what its options do."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from genpipe.data import Split
from genpipe.errors import DataError, DivergedError, PluginError, UsageError
from genpipe.model import Batch, Optimizers
from genpipe.noise import Noise
from genpipe.steps import ProgressFile
from genpipe.training import checkpoints
from genpipe.training.config import TrainConfig
from genpipe.training.optimizers import learning_rate
from tests.training.toys import SPEC, TINY, Pair, Stop, StopAt, Tiny, plane, run, same_weights


@pytest.mark.parametrize("stop", [1, 5, 6, 17, 29])
@pytest.mark.parametrize("options", [{}, {"ema_decay": 0, "optimizer": "adam", "accumulation": 2}])
def test_stopped_anywhere_it_ends_with_the_same_bits(stop: int, options: dict[str, Any], tmp_path: Path) -> None:
    straight = Tiny()
    expected = run(straight, tmp_path / "a", **options)
    with pytest.raises(Stop):
        run(Tiny(), tmp_path / "b", StopAt(stop), checkpoint_every=5, **options)
    again = Tiny()
    result = run(again, tmp_path / "b", checkpoint_every=5, **options)
    assert same_weights(straight, again)
    assert result.history == expected.history
    assert result.resumed_from == ((stop - 1) // 5 * 5 or None)
    assert (result.seconds_resumed > 0) == (stop > 5)
    assert len(checkpoints.list_checkpoints(tmp_path / "b")) == 2


CHILD = """
import os, signal, sys
sys.path.insert(0, {root!r})
import torch
torch.set_num_threads(1)
from pathlib import Path
from tests.training.toys import Tiny, StopAt, run
from genpipe import artifacts

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

class DieAt(StopAt):
    def __call__(self, at, total=None, *, keep=False, **numbers):
        if at == self.step:
            die()

if sys.argv[1] == "writing":
    publish = artifacts.publish
    artifacts.publish = lambda tmp, final, *a, **k: die() if final.name.endswith("20") else publish(tmp, final, *a, **k)
run(Tiny(), Path(sys.argv[2]), DieAt(23) if sys.argv[1] == "training" else None, checkpoint_every=5)
"""


@pytest.mark.parametrize("moment", ["training", "writing"])
def test_killed_with_sigkill_it_ends_with_the_same_bits(moment: str, tmp_path: Path) -> None:
    code = CHILD.format(root=str(Path(__file__).parents[2]))
    done = subprocess.run([sys.executable, "-c", code, moment, str(tmp_path / "b")], env={**os.environ})
    assert done.returncode == -signal.SIGKILL
    straight, again = Tiny(), Tiny()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run(straight, tmp_path / "a")
        result = run(again, tmp_path / "b", checkpoint_every=5)
    finally:
        torch.set_num_threads(threads)
    assert result.resumed_from == (20 if moment == "training" else 15)
    assert same_weights(straight, again)
    assert not list((tmp_path / "b").glob(".staging-*"))


@pytest.mark.parametrize("damage", ["truncate", "flip", "missing", "manifest"])
def test_a_torn_checkpoint_is_named_and_passed_over(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    straight, again = Tiny(), Tiny()
    run(straight, tmp_path / "a")
    with pytest.raises(Stop):
        run(Tiny(), tmp_path / "b", StopAt(13), checkpoint_every=5)
    newest = checkpoints.list_checkpoints(tmp_path / "b")[0]
    weights = newest / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    if damage == "truncate":
        weights.write_bytes(content[:-10])
    elif damage == "flip":
        content[-1] ^= 1
        weights.write_bytes(content)
    elif damage == "missing":
        weights.unlink()
    else:
        (newest / "manifest.json").write_text("{")
    with caplog.at_level(logging.WARNING, "genpipe.training"):
        result = run(again, tmp_path / "b", checkpoint_every=5)
    assert result.resumed_from == 5
    assert newest.name in caplog.text
    assert "going back to the one before" in caplog.text
    assert same_weights(straight, again)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"learning_rate": 0.5}, "train.learning_rate is 0.002 there and 0.5 here"),
        ({"split": plane(49)}, "num_examples is 50 there and 49 here"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run(Tiny(), tmp_path, StopAt(13), checkpoint_every=5)
    with pytest.raises(UsageError, match=says):
        run(Tiny(), tmp_path, checkpoint_every=5, **change)


def test_a_checkpoint_that_the_network_has_outgrown_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run(Tiny(), tmp_path, StopAt(13), checkpoint_every=5)
    wider = Tiny()
    wider.first = nn.Linear(2, 9)
    with pytest.raises(UsageError, match="does not fit this version of family 'tiny'"):
        run(wider, tmp_path, checkpoint_every=5)


def test_micro_batches_follow_the_whole_batch(tmp_path: Path) -> None:
    whole, cut = Tiny(dropout=0), Tiny(dropout=0)
    run(whole, tmp_path / "a")
    run(cut, tmp_path / "b", accumulation=4)
    for ours, theirs in zip(whole.parameters(), cut.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_model_ends_with_the_averaged_weights(tmp_path: Path) -> None:
    class Recording(Tiny):
        def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
            terms = super().train_step(batch, optimizers, step)
            trail.append(self.first.weight.detach().clone())
            return terms

    trail: list[Tensor] = []
    model = Recording(dropout=0)
    average = model.first.weight.detach().clone()
    run(model, tmp_path, ema_decay=0.5)
    for step, weight in enumerate(trail):
        decay = min(0.5, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(model.first.weight.detach(), average)
    assert not torch.equal(trail[-1], average)


def test_without_averaging_the_model_ends_with_the_last_weights_as_torchs_own_loop_would(tmp_path: Path) -> None:
    """The same steps, written out with plain PyTorch."""
    model, plain = Tiny(dropout=0), Tiny(dropout=0)
    run(model, tmp_path, ema_decay=0, weight_decay=0.1, clip_norm=0.5)
    from genpipe.data import Order

    config = TrainConfig(steps=30, batch_size=8, warmup_steps=3)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1.0, betas=(0.9, 0.99), weight_decay=0.1)
    order, x = Order(50, 7), torch.from_numpy(plane().x)
    for step in range(30):
        noise = Noise(7, "train", step * 8)
        z = plain.units.to_network(x[torch.from_numpy(order.indices(step * 8, 8))], noise)
        optimizer.zero_grad()
        plain.loss(z, None, noise)["loss"].backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        optimizer.param_groups[0]["lr"] = learning_rate(config, step)
        optimizer.step()
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_learning_rate_rises_then_falls() -> None:
    config = TrainConfig(steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[99] < 1e-3
    assert rates[10:] == sorted(rates[10:], reverse=True)
    constant = TrainConfig(steps=5, warmup_steps=0, learning_rate=1.0, schedule="constant")
    assert [learning_rate(constant, step) for step in range(5)] == [1.0] * 5


def test_bfloat16_runs_the_forward_pass_in_bfloat16(tmp_path: Path) -> None:
    seen = []

    class Watching(Tiny):
        def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
            seen.append(self.first(z).dtype)
            return super().loss(z, y, noise)

    model = Watching()
    result = run(model, tmp_path, precision="bfloat16")
    assert set(seen) == {torch.bfloat16}
    assert model.first.weight.dtype == torch.float32
    assert np.isfinite(result.numbers["loss"])


@pytest.mark.parametrize(("at", "kept"), [(3, False), (12, True)])
def test_a_loss_that_is_not_finite_names_the_step_and_the_remedy(at: int, kept: bool, tmp_path: Path) -> None:
    class Diverging(Tiny):
        def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
            if step == at:
                with torch.no_grad():
                    self.second.weight.mul_(float("inf"))
            return super().train_step(batch, optimizers, step)

    with pytest.raises(DivergedError) as error:
        run(Diverging(), tmp_path, checkpoint_every=5)
    text = str(error.value)
    assert f"diverged at step {at + 1} of 30" in text
    assert "loss nan" in text or "loss inf" in text
    assert "root" in text
    assert ("checkpoint-00000010" in text) == kept
    assert "Try train.learning_rate=0.0007 (now 0.002) or train.clip_norm=0.3 (now 1)" in text


def test_an_operation_that_refuses_what_is_not_finite_is_a_divergence_and_any_other_error_is_itself(
    tmp_path: Path,
) -> None:
    class Strict(Tiny):
        def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
            if step == 7:
                with torch.no_grad():
                    self.second.weight.fill_(self.fill)
                raise RuntimeError("queries[0] must be finite")
            return super().train_step(batch, optimizers, step)

    model = Strict()
    model.fill = math.nan
    with pytest.raises(
        DivergedError, match=r"step 8 of 30: the weights are not finite, and the model said: queries\[0\]"
    ):
        run(model, tmp_path, checkpoint_every=5)
    model = Strict()
    model.fill = 0.0
    with pytest.raises(RuntimeError, match="queries"):
        run(model, tmp_path / "other", checkpoint_every=5)


def test_weights_that_are_not_finite_are_never_kept(tmp_path: Path) -> None:
    class Poisoned(Tiny):
        def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
            terms = super().train_step(batch, optimizers, step)
            if step == 9:  # after the loss of this step was found finite, before the checkpoint
                with torch.no_grad():
                    self.second.weight.fill_(float("nan"))
            return terms

    with pytest.raises(DivergedError, match="step 10 of 30: the weights are not finite"):
        run(Poisoned(), tmp_path, checkpoint_every=5)
    assert [p.name for p in checkpoints.list_checkpoints(tmp_path)] == ["checkpoint-00000005"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, r"train_step gave a mapping with \[\], expected"),
        (torch.zeros(()), "gave a Tensor, expected a mapping"),
        ({"loss": 1.0}, "expected a mapping of scalar tensors with 'loss'"),
        ({"loss": torch.zeros(3)}, r"'loss' has shape \(3,\)"),
        ({"loss": torch.zeros(()), "kl": 2.0}, "'kl' has type float"),
    ],
)
def test_a_family_that_breaks_the_contract_is_named(given: Any, says: str, tmp_path: Path) -> None:
    class Broken(Tiny):
        def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> Any:
            return given

    with pytest.raises(PluginError, match=says) as error:
        run(Broken(), tmp_path)
    assert "'tiny'" in str(error.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"kl": torch.zeros(())}, "gave loss terms"),
        ({"loss": torch.zeros(2, requires_grad=True)}, r"shape \(2,\) as its loss"),
        ({"loss": torch.zeros(())}, "depends on no parameter"),
        (None, "gave loss terms"),
    ],
)
def test_a_loss_that_breaks_the_contract_is_named(given: Any, says: str, tmp_path: Path) -> None:
    class Broken(Tiny):
        def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> Any:
            return given

    with pytest.raises(PluginError, match=says):
        run(Broken(), tmp_path)


def test_each_group_moves_by_its_own_loss_alone(tmp_path: Path) -> None:
    model = Pair()
    result = run(model, tmp_path / "a", schedule="constant", learning_rate=0.05, steps=80)
    assert result.history[-1]["inner"] < 0.05 * result.history[0]["inner"]
    assert result.history[-1]["loss"] < 0.05 * result.history[0]["loss"]
    with pytest.raises(Stop):
        run(Pair(), tmp_path / "b", StopAt(13), checkpoint_every=5)
    straight, again = Pair(), Pair()
    run(straight, tmp_path / "c")
    run(again, tmp_path / "b", checkpoint_every=5)
    assert same_weights(straight, again)


def test_under_bfloat16_what_follows_a_step_sees_the_weights_that_moved(tmp_path: Path) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    class Watching(Pair):
        def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
            optimizers.minimize(self.first(batch.z).float().square().mean(), "inner")
            again = self.first(batch.z)
            weight, bias = self.first.weight.bfloat16(), self.first.bias.bfloat16()
            seen.append((again.detach(), nn.functional.linear(batch.z.bfloat16(), weight, bias).detach()))
            return {"loss": again.float().mean().detach()}

    run(Watching(), tmp_path, precision="bfloat16", steps=3, learning_rate=0.1)
    assert len(seen) == 3
    assert all(torch.equal(ours, moved) for ours, moved in seen)


def test_micro_batches_cannot_step_twice(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"steps more than once per batch \(inner, then outer\)"):
        run(Pair(), tmp_path, accumulation=2)


def test_a_group_that_there_is_not_is_named(tmp_path: Path) -> None:
    class Wrong(Tiny):
        def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
            loss = self.first(batch.z).mean()
            optimizers.minimize(loss, "critic")
            return {"loss": loss}

    with pytest.raises(PluginError, match="minimises the group 'critic'; its parameter_groups are model"):
        run(Wrong(), tmp_path)


def test_progress_says_what_was_logged(tmp_path: Path) -> None:
    progress = ProgressFile(tmp_path / "progress.jsonl")
    result = run(Tiny(), tmp_path / "scratch", progress)
    progress.close()
    lines = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    logged = [line for line in lines if line["metrics"]]
    assert [line["at"] for line in logged] == [4, 8, 12, 16, 20, 24, 28, 30]
    assert all(line["total"] == 30 for line in lines)
    assert [line["metrics"]["loss"] for line in logged] == [entry["loss"] for entry in result.history]
    assert set(logged[0]["metrics"]) == {"loss", "root", "learning_rate"}


def test_labels_reach_a_conditional_family_and_no_other(tmp_path: Path) -> None:
    seen: list[Any] = []

    class Labelled(Tiny):
        def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
            seen.append(None if y is None else torch.equal(y, (z[:, 0] > 0).long()))
            return super().loss(z, y, noise)

    x = plane().x
    split = Split(SPEC, "train", x, (x[:, 0] > 0).astype(np.int64))
    for conditional in (True, False):
        model = Labelled()
        model.family = dataclasses.replace(TINY, conditional=conditional)
        run(model, tmp_path / str(conditional), split=split, steps=2)
    assert seen == [True, True, None, None]


def test_a_memory_mapped_split_trains_as_one_in_memory(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", plane().x)
    mapped = Split(SPEC, "train", np.load(tmp_path / "x.npy", mmap_mode="r"), None)
    first, second = Tiny(), Tiny()
    run(first, tmp_path / "a")
    run(second, tmp_path / "b", split=mapped)
    assert same_weights(first, second)


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no examples"):
        run(Tiny(), tmp_path, split=Split(SPEC, "train", plane().x[:0], None))


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="no multiple of accumulation"):
        TrainConfig(batch_size=10, accumulation=3)
    with pytest.raises(ValueError, match="betas"):
        TrainConfig(betas=(0.9, 1.0))
    with pytest.raises(ValueError):
        TrainConfig(no_such_option=1)
