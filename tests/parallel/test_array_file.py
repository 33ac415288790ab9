import errno
import os

import numpy as np
import pytest

from genpipe.errors import GenpipeError
from genpipe.parallel import Range
from genpipe.parallel.array_file import ArrayFile

PARTS = Range(0, 10).cut(4)


def rows(at, seed=0):
    return np.random.default_rng(seed + at.start).normal(size=(len(at), 3)).astype(np.float32)


def test_ranges_cover_all_and_begin_at_multiples_of_their_size():
    assert Range(0, 10).cut(4) == [Range(0, 4), Range(4, 8), Range(8, 10)]
    assert str(PARTS[2]) == "examples 8 … 9"
    assert Range(3, 3).cut(4) == []


def test_ranges_in_any_order_give_the_array(tmp_path):
    file = ArrayFile(tmp_path / "x.npy", (10, 3), "float32")
    for at in reversed(PARTS):
        file.write(at, rows(at))
    expected = np.concatenate([rows(at) for at in PARTS])
    assert np.array_equal(file.open(), expected)
    file.move(tmp_path / "moved.npy")
    assert np.array_equal(np.load(tmp_path / "moved.npy"), expected)
    np.save(tmp_path / "saved.npy", expected)
    assert (tmp_path / "moved.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()
    assert not list(tmp_path.glob("x.*"))


def test_what_an_earlier_attempt_wrote_is_kept_and_what_is_torn_is_not(tmp_path):
    file = ArrayFile(tmp_path / "x.npy", (10, 3), "float32")
    for at in PARTS[:2]:
        file.write(at, rows(at))
    with (tmp_path / "x.npy").open("r+b") as raw:
        raw.seek(-1 - 2 * 12, os.SEEK_END)  # the last byte of the second range
        raw.write(b"\x7f")
    with (tmp_path / "x.ranges.jsonl").open("a") as text:
        text.write('[8, 10, "torn')
    assert ArrayFile(tmp_path / "x.npy", (10, 3), "float32").missing(PARTS) == PARTS[1:]


@pytest.mark.parametrize(("shape", "dtype"), [((11, 3), "float32"), ((10, 3), "float64")])
def test_an_array_of_another_kind_is_made_anew(tmp_path, shape, dtype):
    ArrayFile(tmp_path / "x.npy", (10, 3), "float32").write(PARTS[0], rows(PARTS[0]))
    file = ArrayFile(tmp_path / "x.npy", shape, dtype)
    assert file.missing(PARTS) == PARTS
    assert file.open().shape == shape


def test_a_list_that_was_lost_makes_the_array_anew(tmp_path):
    ArrayFile(tmp_path / "x.npy", (10, 3), "float32").write(PARTS[0], rows(PARTS[0]))
    (tmp_path / "x.ranges.jsonl").unlink()
    assert ArrayFile(tmp_path / "x.npy", (10, 3), "float32").missing(PARTS) == PARTS


def test_a_disk_without_room_is_told_before_any_work(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(GenpipeError, match=r"no room for the 1\.0 GiB of x\.npy: No space left"):
        ArrayFile(tmp_path / "x.npy", (2**28,), "float32")
    assert not list(tmp_path.iterdir())
