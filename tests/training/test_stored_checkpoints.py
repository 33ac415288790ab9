"""Checkpoints in a store: training goes on from them on another machine, and never waits or stops for the store."""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from genpipe import artifacts
from genpipe.errors import StoreError, UsageError
from genpipe.steps import ProgressFile
from genpipe.stores import Store, StoredFolder
from genpipe.stores.patience import Patience
from genpipe.training import checkpoints, mirror
from genpipe.training.config import TrainConfig
from genpipe.training.loop import TrainResult, train
from genpipe.training.mirror import Mirror
from tests.training.test_loop import Stop, StopAt, Tiny, plane, same_weights

HASTY = Patience(timeout_seconds=300, num_tries=2, first_pause_seconds=0)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr(mirror, "CLOSE_SECONDS", 300)


@pytest.fixture
def stored(faulty):
    return StoredFolder(Store(faulty.address, HASTY), "scratch/key")


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The weights of a training that nothing disturbed."""
    model = Tiny()
    run(model, tmp_path_factory.mktemp("straight"))
    return model


def run(model: Tiny, scratch: Path, progress: Any = None, **options: Any) -> TrainResult:
    stored = options.pop("stored", None)
    config = TrainConfig(**{"steps": 30, "batch_size": 8, "warmup_steps": 3, "log_every": 4, **options})
    progress = progress or ProgressFile(None)
    return train(model, plane(), config, seed=7, device="cpu", scratch=scratch, progress=progress, stored=stored)


class PromptMirror(Mirror):
    """Leaves no checkpoint out, however busy the machine: what arrived of a stopped training is known."""

    def send(self, checkpoint: Path) -> None:
        super().send(checkpoint)
        self.arrive()


def stop_at(step: int, scratch: Path, stored: StoredFolder) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "Mirror", PromptMirror)
        with pytest.raises(Stop):
            run(Tiny(), scratch, StopAt(step), checkpoint_every=5, stored=stored)


def there(stored: StoredFolder) -> list[str]:
    return Mirror(stored, 2).list()


def names(*steps: int) -> list[str]:
    return [f"checkpoint-{step:08d}" for step in steps]


def test_another_machine_goes_on_with_the_same_bits(stored, straight, tmp_path):
    stop_at(23, tmp_path / "a", stored)
    assert there(stored) == names(20, 15)
    again = Tiny()
    assert run(again, tmp_path / "b", checkpoint_every=5, stored=stored).resumed_from == 20
    assert same_weights(straight, again)
    assert there(stored) == names(25, 20)  # pruned, those of the first machine too


def test_the_newest_of_here_and_there_is_taken(stored, straight, tmp_path):
    stop_at(13, tmp_path / "a", stored)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    stop_at(23, tmp_path / "a", stored)
    model = Tiny()
    assert run(model, tmp_path / "b", checkpoint_every=5, stored=stored).resumed_from == 20
    assert same_weights(straight, model)
    stored.discard()
    assert run(Tiny(), tmp_path / "a", checkpoint_every=5, stored=stored).resumed_from == 20


@pytest.mark.parametrize("damage", ["truncate", "flip", "missing", "manifest"])
def test_a_torn_newest_one_falls_back_to_the_one_before_and_says_so(
    stored, straight, tmp_path, faulty, caplog, monkeypatch, damage
):
    stop_at(23, tmp_path / "a", stored)
    newest = faulty.folder / stored.path / names(20)[0]
    (weights,) = newest.rglob("weights.safetensors")
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
    model = Tiny()
    monkeypatch.setattr(checkpoints, "Mirror", PromptMirror)  # 20 is sent again however soon 25 follows
    with caplog.at_level(logging.WARNING, "genpipe.training"):
        assert run(model, tmp_path / "b", checkpoint_every=5, stored=stored).resumed_from == 15
    assert names(20)[0] in caplog.text
    assert "going back to the one before" in caplog.text
    assert same_weights(straight, model)
    assert there(stored) == names(25, 20)


def test_one_that_is_torn_here_is_taken_from_the_store(stored, straight, tmp_path):
    stop_at(23, tmp_path / "a", stored)
    (tmp_path / "a" / names(20)[0] / "weights.safetensors").write_bytes(b"")
    model = Tiny()
    assert run(model, tmp_path / "a", checkpoint_every=5, stored=stored).resumed_from == 20
    assert same_weights(straight, model)


def test_a_torn_one_does_not_pass_for_one_of_the_two_that_are_kept(tmp_path):
    with pytest.raises(Stop):
        run(Tiny(), tmp_path, StopAt(23), checkpoint_every=5)
    (tmp_path / names(20)[0] / "weights.safetensors").write_bytes(b"")
    with pytest.raises(Stop):
        run(Tiny(), tmp_path, StopAt(18), checkpoint_every=1)
    assert [p.name for p in checkpoints.list_checkpoints(tmp_path)] == names(17, 16)


def test_a_broken_off_upload_is_removed(stored, tmp_path, faulty):
    stop_at(13, tmp_path / "a", stored)
    (faulty.folder / stored.path / names(10)[0] / "manifest.json").unlink()
    assert run(Tiny(), tmp_path / "b", checkpoint_every=20, stored=stored).resumed_from == 5
    assert there(stored) == names(20, 5)


def test_training_goes_on_without_the_store_and_says_so_once(stored, straight, tmp_path, faulty, caplog):
    faulty.plan(refuse=["put_file"])
    model = Tiny()
    run(model, tmp_path, checkpoint_every=1, stored=stored)
    assert same_weights(straight, model)
    said = [r.getMessage() for r in caplog.records if "training goes on" in r.getMessage()]
    assert len(said) == 1
    assert "Access Denied" in said[0]


def test_a_store_that_comes_back_gets_the_next_checkpoint(stored, tmp_path, faulty, caplog):
    faulty.plan(fail={"put_file": 40})
    caplog.set_level(logging.INFO, "genpipe.stores")
    with Mirror(stored, 2) as mirror:
        for step in range(1, 60):
            folder = publish_small(tmp_path / names(step)[0])
            mirror.send(folder)
            while mirror.needs(folder):
                time.sleep(0.001)
    assert there(stored) == names(59, 58)
    assert caplog.text.count("training goes on") == 1
    assert "checkpoints are uploaded again" in caplog.text


def publish_small(final: Path) -> Path:
    with artifacts.staging(final.parent) as folder:
        (folder / "weights.safetensors").write_bytes(b"weights")
        artifacts.publish(folder, final, {})
    return final


class Slow:
    """A store that takes a first checkpoint in hand, and has it no sooner than told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.sent: list[str] = []
        send = StoredFolder.send

        def send_late(folder: StoredFolder, *arguments: Any, **options: Any) -> Any:
            self.sent.append(Path(folder.path).name)
            self.begun.set()
            assert self.may_end.wait(300)
            return send(folder, *arguments, **options)

        monkeypatch.setattr(StoredFolder, "send", send_late)


class Watching(StopAt):
    """Goes on past the first checkpoint once it is on its way; what is kept here at `step` is in `kept`."""

    def __init__(self, store: Slow, scratch: Path, step: int) -> None:
        super().__init__(step)
        self.store, self.scratch, self.kept = store, scratch, []

    def __call__(self, at: int, total: int | None = None, **numbers: Any) -> None:
        if at == 7:
            assert self.store.begun.wait(300)
        if at == self.step:
            self.kept = [path.name for path in checkpoints.list_checkpoints(self.scratch)]
            self.store.may_end.set()


def test_a_slow_store_holds_nothing_up_and_gets_the_newest(stored, tmp_path, monkeypatch):
    store = Slow(monkeypatch)
    run(Tiny(), tmp_path, Watching(store, tmp_path, 30), checkpoint_every=1, stored=stored)
    first, last = store.sent  # those between were left out
    assert first in names(1, 2, 3, 4, 5, 6)
    assert there(stored) == [last, first] == [*names(29), first]


def test_a_checkpoint_that_others_wait_for_has_arrived(stored, tmp_path, faulty):
    faulty.plan(seconds=0.05)
    with Mirror(stored, 2) as mirror:
        mirror.arrive()  # nothing was sent
        mirror.send(publish_small(tmp_path / names(1)[0]))
        mirror.arrive()
        assert there(stored) == names(1)
        faulty.plan(refuse=["put_file"])
        mirror.send(publish_small(tmp_path / names(2)[0]))
        mirror.arrive()
        assert there(stored) == names(1)


def test_what_is_on_its_way_is_not_pruned_here(stored, tmp_path, monkeypatch):
    store = Slow(monkeypatch)
    watching = Watching(store, tmp_path, 28)  # past the last checkpoint: which is next does not depend on the thread
    run(Tiny(), tmp_path, watching, checkpoint_every=5, stored=stored)
    assert watching.kept == names(25, 20, 5)
    assert store.sent == names(5, 25)
    assert there(stored) == names(25, 5)


def test_a_store_that_does_not_answer_at_the_start_ends_a_training_that_might_be_there(stored, tmp_path, faulty):
    faulty.plan(fail={"find": 1000})
    with pytest.raises(StoreError, match="listing scratch/key failed"):
        run(Tiny(), tmp_path / "b", stored=stored)


def test_a_store_that_does_not_answer_at_the_start_is_passed_over_where_there_are_checkpoints_here(
    stored, tmp_path, faulty, caplog
):
    stop_at(23, tmp_path, stored)
    faulty.plan(fail={"find": 1000})
    assert run(Tiny(), tmp_path, checkpoint_every=5, stored=stored).resumed_from == 20
    assert "only the checkpoints on this machine are looked at" in caplog.text


def test_another_training_s_checkpoints_are_refused_from_the_store_too(stored, tmp_path):
    stop_at(23, tmp_path / "a", stored)
    with pytest.raises(UsageError, match=r"train\.learning_rate is"):
        run(Tiny(), tmp_path / "b", checkpoint_every=5, stored=stored, learning_rate=0.5)


CHILD = """
import sys
sys.path.insert(0, {root!r})
import torch
torch.set_num_threads(1)
from pathlib import Path
from genpipe.stores import Store, StoredFolder
from genpipe.steps import ProgressFile
from tests.training.test_loop import Tiny, same_weights
from tests.training.test_stored_checkpoints import run

class Told(ProgressFile):
    def __call__(self, at, total=None, **numbers):
        print(at, flush=True)

model = Tiny()
stored = StoredFolder(Store.at(sys.argv[1]), "scratch/key")
run(model, Path(sys.argv[2]), Told(None), checkpoint_every=1, log_every=1, steps=400, stored=stored)
"""


def kill_trainings(stored, faulty, tmp_path, times: int, on_other_machines: bool) -> Tiny:
    """Kills a training at random moments, each time on another machine or on the same, then lets it end."""
    code, rng = CHILD.format(root=str(Path(__file__).parents[2])), random.Random(0)
    for number in range(times):
        machine = tmp_path / (f"machine{number}" if on_other_machines else "machine")
        arguments = [sys.executable, "-c", code, faulty.address, str(machine)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, env={**os.environ}) as process:
            process.stdout.readline()
            time.sleep(rng.uniform(0, 0.4))
            process.send_signal(signal.SIGKILL)
    model = Tiny()
    machine = tmp_path / ("last" if on_other_machines else "machine")
    run(model, machine, checkpoint_every=1, log_every=1, steps=400, stored=stored)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("on_other_machines", [True, False])
def test_killed_at_random_moments_it_ends_with_the_same_bits(stored, faulty, tmp_path, on_other_machines):
    import torch

    faulty.plan(seconds=0.002)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        straight = Tiny()
        run(straight, tmp_path / "straight", log_every=1, steps=400)
        assert same_weights(straight, kill_trainings(stored, faulty, tmp_path, 20, on_other_machines))
    finally:
        torch.set_num_threads(threads)
