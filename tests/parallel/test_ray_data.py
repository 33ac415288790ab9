"""Items of work as a Ray Data job. The tests in this file share one Ray."""

import os
import signal
import threading

import pytest

from genpipe.errors import DataError, GenpipeError
from genpipe.parallel import WorkerResources

# Ray Data warns of its own settings when it copies them.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data")


@pytest.fixture
def job(on_ray, tmp_path):
    from genpipe.parallel.ray_data import OnRayData

    return OnRayData(2, WorkerResources(cpus=1), tmp_path / "scratch")


def multiplier(factor):
    def multiply(item):
        if item == "bad":
            raise DataError("row 3 of bad.csv is no number")
        return {"product": factor * item, "pid": os.getpid()}

    return multiply


def dies_once(folder):
    def work(item):
        mark = folder / f"{item}"
        if item % 3 == 0 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    return work


def always_dies(_):
    return lambda item: os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_every_item_is_done_once_and_a_users_mistake_comes_back_as_it_was_told(job, capfd):
    found = dict(job.map("test_ray_data:multiplier", 3, list(range(20))))
    assert [found[i]["product"] for i in range(20)] == [3 * i for i in range(20)]
    assert list(job.map("test_ray_data:multiplier", 3, [])) == []
    with pytest.raises(GenpipeError, match=r"^row 3 of bad.csv is no number$") as caught:
        list(job.map("test_ray_data:multiplier", 3, [1, "bad", 2]))
    assert caught.value.exit_code == DataError.exit_code
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err == ""


def test_the_data_stage_leaves_the_same_bytes_whoever_did_the_work(job, tmp_path, monkeypatch):
    from synthetic_source import Synthetic, run_data_stage

    from genpipe.parallel import InThisProcess

    monkeypatch.setattr("genpipe.pipelines.data.pieces.MIN_BYTES", 2000)
    source = Synthetic(nums=(50, 1, 0, 200, 7, 150))
    alone = run_data_stage(tmp_path / "alone", source, InThisProcess(), validation_fraction=0.1)
    shared = run_data_stage(tmp_path / "shared", source, job, validation_fraction=0.1)
    files = [path.relative_to(alone) for path in sorted(alone.rglob("*")) if path.is_file()]
    assert len(files) > 6
    for file in files:
        assert (alone / file).read_bytes() == (shared / file).read_bytes(), file


@pytest.mark.slow
def test_the_items_of_a_killed_worker_are_done_again(job, tmp_path):
    found = dict(job.map("test_ray_data:dies_once", tmp_path, list(range(10))))
    assert found == {i: i for i in range(10)}


def hangs_once(folder):
    def work(item):
        mark = folder / str(item)
        if item == 1 and not mark.exists():
            mark.touch()
            threading.Event().wait()
        return item

    return work


@pytest.mark.slow
def test_a_worker_that_hangs_is_ended_with_its_stack_in_the_log(on_ray, tmp_path, caplog):
    from genpipe.parallel.ray_data import OnRayData

    signs = []
    job = OnRayData(2, WorkerResources(), tmp_path / "scratch", hang_seconds=3, alive=lambda: signs.append(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genpipe.parallel.ray_data.ALIVE_SECONDS", 0.5)
        found = dict(job.map("test_ray_data:hangs_once", tmp_path, list(range(4))))
    assert found == {i: i for i in range(4)}
    assert "test_ray_data.py" in caplog.text
    assert len(signs) >= 3


@pytest.mark.slow
def test_what_kills_its_worker_each_time_comes_to_an_end(job):
    with pytest.raises(GenpipeError, match=r"^part 7: its worker process died 5 times"):
        list(job.map("test_ray_data:always_dies", None, ["part 7"]))
