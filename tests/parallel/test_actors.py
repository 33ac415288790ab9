"""Work shared between Ray actors that are killed, slow, hang, and raise."""

import os
import signal
import threading
import time
from contextlib import closing

import numpy as np
import pytest

from genpipe.errors import GenpipeError
from genpipe.parallel import InThisProcess, WorkerResources

ACT = "shared_work:acting"


@pytest.fixture
def log(tmp_path):
    return tmp_path / "step.log"


@pytest.fixture
def workers(on_ray, log):
    """A function that gives a FanOut on Ray, closed at the test's end."""
    from genpipe.parallel.actors import OnActors

    made = []

    def make(num_workers=2, cpus=1, **options):
        made.append(OnActors(num_workers, WorkerResources(cpus=cpus), log, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def attempts(folder, act):
    return len(list(folder.glob(f"{act}-*")))


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=300.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_results_are_those_of_one_process_and_lost_items_are_done_again(workers, tmp_path, caplog):
    array = np.arange(100_000.0)
    parts = [slice(i, i + 10_000) for i in range(0, 100_000, 10_000)]
    fan_out = workers()
    found = dict(fan_out.map("shared_work:sums", array, parts))
    expected = dict(InThisProcess().map("shared_work:sums", array, parts))
    assert all(np.array_equal(found[i], expected[i]) for i in range(10))

    fan_out.close()

    items = [("go", 0), ("die", 1), *(("go", i) for i in range(2, 6))]
    alone = workers(1)  # of two, the other one might overtake it
    assert sorted(alone.map(ACT, str(tmp_path), items)) == [(i, i) for i in range(6)]
    assert attempts(tmp_path, "die") == 2
    assert "was lost: its process died" in caplog.text


slow = pytest.mark.slow


@slow
def test_each_process_makes_the_function_once_for_the_same_shared(workers, log):
    fan_out, shared = workers(1), np.array(3)
    for _ in range(2):
        answers = dict(fan_out.map("shared_work:squares", shared, range(8)))
        assert [answers[i][1] for i in range(8)] == [3 * i * i for i in range(8)]
    assert log.read_text().count("made anew") == 1
    dict(fan_out.map("shared_work:squares", np.array(4), range(8)))
    assert log.read_text().count("made anew") == 2


@slow
def test_an_item_that_kills_every_worker_is_named(workers, tmp_path):
    items = [("go", 0), ("die always", 1), ("go", 2)]
    with pytest.raises(GenpipeError, match=r"\('die always', 1\) ended 4 workers, the last so: its process died"):
        list(workers().map(ACT, str(tmp_path), items))
    assert attempts(tmp_path, "die always") >= 4  # a slow one has a copy


@slow
def test_a_straggler_is_overtaken(workers, tmp_path):
    fan_out = workers()
    items = [("stall", 0), *(("go", i) for i in range(1, 9))]
    assert sorted(fan_out.map(ACT, str(tmp_path), items)) == [(i, i) for i in range(9)]
    assert attempts(tmp_path, "stall") >= 2
    assert sorted(fan_out.map(ACT, str(tmp_path), [("go", i) for i in range(4)])) == [(i, i) for i in range(4)]


@slow
def test_a_worker_that_hangs_says_where_and_its_item_is_done_by_another(workers, tmp_path, log):
    fan_out = workers(1, hang_seconds=4)
    assert sorted(fan_out.map(ACT, str(tmp_path), [("hang", 0), ("go", 1)])) == [(0, 0), (1, 1)]
    assert "shared_work.py" in log.read_text()
    assert "Timeout" in log.read_text()


@slow
def test_a_users_mistake_keeps_its_words_and_code(workers, tmp_path, log):
    with pytest.raises(GenpipeError, match=r"^the shard is not there$") as caught:
        list(workers().map(ACT, str(tmp_path), [("go", 0), ("mistake", 1)]))
    assert caught.value.exit_code == 2
    with pytest.raises(GenpipeError, match=r"^nothing to build from$"):
        list(workers().map("shared_work:failing_builder", None, [0]))


@slow
def test_a_bug_is_told_with_its_traceback_in_the_log(workers, tmp_path, caplog):
    with pytest.raises(GenpipeError, match=r"^ZeroDivisionError: one over none$"):
        list(workers().map(ACT, str(tmp_path), [("bug", 0)]))
    assert 'raise ZeroDivisionError("one over none")' in caplog.text


@slow
def test_what_cannot_be_sent_is_an_error_and_no_death(workers, tmp_path):
    with pytest.raises(GenpipeError, match="TypeError"):
        list(workers().map(ACT, str(tmp_path), [("lambda", 0)]))


@slow
def test_more_workers_than_there_is_room_for_share_what_there_is(workers):
    answers = dict(workers(8).map("shared_work:squares", 1, range(20)))
    assert [answers[i][1] for i in range(20)] == [i * i for i in range(20)]
    assert len({pid for pid, _ in answers.values()}) <= 3


@slow
def test_two_steps_that_want_all_workers_both_end(workers):
    found = [None, None]

    def work(number):
        found[number] = dict(fan_outs[number].map("shared_work:squares", 1, range(20)))
        fan_outs[number].close()

    fan_outs = [workers(3), workers(3)]
    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert all(len(each) == 20 for each in found)


@slow
def test_results_wait_for_who_takes_them(workers, tmp_path):
    answers = workers().map(ACT, str(tmp_path), [("go", i) for i in range(50)])
    next(answers)
    time.sleep(2)
    assert attempts(tmp_path, "go") <= 7  # three workers' worth
    assert len(list(answers)) == 49


@slow
def test_workers_end_with_close_and_when_a_map_is_left(workers, tmp_path):
    fan_out = workers()
    with closing(fan_out.map("shared_work:squares", 1, range(40))) as answers:
        pids = {next(answers)[1][0] for _ in range(20)}
    assert os.getpid() not in pids
    fan_out.close()
    wait_until(lambda: not any(map(is_alive, pids)))


@slow
def test_workers_do_not_outlive_the_process_that_shares(on_ray, tmp_path):
    import ray

    @ray.remote(num_cpus=0, max_retries=0)
    def step(folder):
        from pathlib import Path

        from genpipe.parallel.actors import OnActors

        (Path(folder) / "owner").write_text(str(os.getpid()))
        fan_out = OnActors(2, WorkerResources(), Path(folder) / "step.log")
        return list(fan_out.map("shared_work:acting", folder, [("stall", 0), ("stall", 1)]))

    for end in ("cancel", "kill"):
        folder = tmp_path / end
        folder.mkdir()
        task = step.remote(str(folder))
        wait_until(lambda folder=folder: attempts(folder, "stall") == 2)
        pids = [int(path.name.split("-")[2]) for path in folder.glob("stall-*")]
        assert all(map(is_alive, pids))
        if end == "cancel":
            ray.cancel(task, force=True)
        else:
            os.kill(int((folder / "owner").read_text()), signal.SIGKILL)
        wait_until(lambda pids=pids: not any(map(is_alive, pids)))


@slow
def test_a_worker_that_does_not_see_the_workspace_says_so(on_ray, tmp_path):
    from genpipe.parallel.actors import OnActors
    from genpipe.stores import Site

    elsewhere = tmp_path / "elsewhere"
    site = Site(root=str(elsewhere), run=str(elsewhere / "runs" / "1"))
    fan_out = OnActors(1, WorkerResources(), elsewhere / "runs" / "1" / "step.log", site=site)
    with closing(fan_out), pytest.raises(GenpipeError, match="is not to be seen on") as caught:
        list(fan_out.map(ACT, str(tmp_path), [("go", 0)]))
    assert caught.value.exit_code == 2
