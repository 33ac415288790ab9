import time

import pytest

from genpipe.errors import StoreError, UsageError
from genpipe.stores import Store, patience
from genpipe.stores.patience import Patience

HASTY = Patience(timeout_seconds=300, num_tries=3, first_pause_seconds=0)


@pytest.fixture(params=["file", "memory", "faulty"])
def store(request, tmp_path, faulty):
    return Store(
        {"file": f"file://{tmp_path}/files", "memory": f"memory://{tmp_path}", "faulty": faulty.address}[request.param]
    )


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr("genpipe.stores.store.PROBE_SECONDS", 300)


@pytest.fixture
def failing(faulty):
    return Store(faulty.address, HASTY)


def test_files_come_back_as_they_went(store, tmp_path):
    (tmp_path / "here").write_bytes(b"content")
    store.upload(tmp_path / "here", "a/b/there")
    store.write("a/small", b"text")
    assert store.read("a/small") == b"text"
    store.download("a/b/there", tmp_path / "back", 7)
    assert (tmp_path / "back").read_bytes() == b"content"
    assert store.sizes("a") == {"b/there": 7, "small": 4}
    assert store.sizes("") == {"a/b/there": 7, "a/small": 4}
    store.remove("a/b")
    assert store.sizes("a") == {"small": 4}


def test_what_is_not_there_is_told_apart_from_failure(store, tmp_path):
    assert store.read("nothing") is None
    assert store.sizes("nothing") == {}
    store.remove("nothing")
    with pytest.raises(FileNotFoundError):
        store.download("nothing", tmp_path / "x", 0)
    assert list(tmp_path.glob(".x*")) == []


def test_a_probe_leaves_nothing(store):
    store.probe()
    assert store.sizes("") == {}


def test_what_others_wrote_since_is_seen(store):
    assert store.sizes("a") == {}
    Store(store.address).write("a/x", b"1")
    assert store.sizes("a") == {"x": 1}


def test_a_failure_that_passes_is_tried_again(failing, faulty):
    faulty.plan(fail={"pipe_file": 2, "cat_file": 1, "find": 2})
    failing.write("a", b"text")
    assert failing.read("a") == b"text"
    assert failing.sizes("") == {"a": 4}


def test_a_failure_that_stays_names_the_address_and_the_operation(failing, faulty):
    faulty.plan(fail={"pipe_file": 100})
    with pytest.raises(StoreError, match=f"store {faulty.address}: writing a failed: ConnectionResetError: .*reset"):
        failing.write("a", b"text")
    assert faulty.operations == ["pipe_file"] * 3


@pytest.mark.parametrize(
    ("faults", "said"),
    [({"refuse": ["pipe_file"]}, "PermissionError: .*Access Denied"), ({"full": 2}, "OSError: .*No space left")],
)
def test_what_trying_again_does_not_mend_is_not_tried_again(failing, faulty, faults, said):
    faulty.plan(**faults)
    with pytest.raises(StoreError, match=said):
        failing.probe()
    assert faulty.operations == ["pipe_file"]


def test_a_store_that_hangs_is_left_alone_after_its_time(faulty):
    faulty.plan(hang=["cat_file"])
    with pytest.raises(StoreError, match=r"reading a failed: TimeoutError: no answer within 0\.2 s"):
        Store(faulty.address, Patience(0.2, 2, 0)).read("a")


def test_large_files_are_given_longer(faulty, tmp_path, monkeypatch):
    given = []
    within = patience.within
    monkeypatch.setattr(patience, "within", lambda seconds, work: given.append(seconds) or within(300, work))
    (tmp_path / "large").write_bytes(bytes(2**22))
    store = Store(faulty.address, Patience(0.1, 1, 0))
    store.upload(tmp_path / "large", "a")
    store.download("a", tmp_path / "back", 2**22)
    store.write("small", b"text")
    assert given == pytest.approx([4.1, 4.1, 0.1], abs=1e-3)


def test_a_mounted_folder_never_has_the_beginning_of_a_file(tmp_path, monkeypatch):
    import shutil

    def tear(source, target):
        target.write_bytes(b"cont")
        raise OSError(5, "the mount is gone")

    (tmp_path / "here").write_bytes(b"content")
    store = Store(f"file://{tmp_path}/files", HASTY)
    monkeypatch.setattr(shutil, "copyfile", tear)
    with pytest.raises(StoreError, match="the mount is gone"):
        store.upload(tmp_path / "here", "a")
    assert store.sizes("") == {}


def test_the_time_that_is_given_is_checked(monkeypatch):
    for wrong in ("soon", "-1", "0", "nan", "inf"):
        monkeypatch.setenv("GENPIPE_STORE_TIMEOUT_SECONDS", wrong)
        with pytest.raises(UsageError, match="expected a positive number of seconds"):
            Store.at("memory://a")
    monkeypatch.setenv("GENPIPE_STORE_TIMEOUT_SECONDS", "7")
    assert Store.at("memory://a").patience.timeout_seconds == 7


def test_questions_are_asked_side_by_side():
    from genpipe.stores import in_parallel

    def slow(number):
        time.sleep(0.05)
        return number * number

    assert in_parallel(slow, range(20)) == [n * n for n in range(20)]
    with pytest.raises(ZeroDivisionError):
        in_parallel(lambda n: 1 / n, [1, 0])
