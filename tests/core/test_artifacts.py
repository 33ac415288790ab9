import errno
import json
import os
import socket
import subprocess
import sys
import time

import pytest

from genpipe.artifacts import MANIFEST, clear_staging, discard, publish, read_manifest, staging, verify
from genpipe.errors import ArtifactError, GenpipeError


def published(parent, content=b"content", **facts):
    with staging(parent) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "data.bin").write_bytes(content)
        publish(folder, parent / "key", facts)
    return parent / "key"


def test_a_published_folder_verifies_and_tells_its_facts(tmp_path):
    folder = published(tmp_path, seconds=3)
    assert verify(folder).seconds == 3
    assert read_manifest(folder).files["inner/data.bin"]["bytes"] == 7
    assert [p.name for p in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda f: (f / "inner" / "data.bin").write_bytes(b"CONTENT"), "does not match its checksum"),
        (lambda f: (f / "inner" / "data.bin").write_bytes(b"short"), "has 5 bytes, its manifest says 7"),
        (lambda f: (f / "inner" / "data.bin").unlink(), "is missing"),
        (lambda f: (f / MANIFEST).unlink(), "not a whole artifact"),
        (lambda f: (f / MANIFEST).write_text("{"), "is damaged"),
        (lambda f: (f / MANIFEST).write_text("[]"), "is damaged"),
        (lambda f: (f / MANIFEST).write_text('{"facts": {}, "files": []}'), "is damaged"),
    ],
)
def test_damage_is_found_and_named(tmp_path, damage, expected):
    folder = published(tmp_path)
    damage(folder)
    with pytest.raises(ArtifactError, match=expected):
        verify(folder)


def test_the_first_of_two_publishers_wins_unless_its_work_is_damaged(tmp_path):
    folder = published(tmp_path, b"first")
    published(tmp_path, b"second")
    assert (folder / "inner" / "data.bin").read_bytes() == b"first"
    (folder / "inner" / "data.bin").write_bytes(b"wrong")
    published(tmp_path, b"third")
    assert (folder / "inner" / "data.bin").read_bytes() == b"third"
    verify(folder)


def test_replace_puts_new_work_in_place_of_old(tmp_path):
    folder = published(tmp_path, b"first")
    with staging(tmp_path) as new:
        (new / "data.bin").write_bytes(b"second")
        publish(new, folder, {}, replace=True)
    assert verify(folder).files.keys() == {"data.bin"}


def test_an_error_on_the_way_leaves_nothing(tmp_path):
    def fail(folder):
        (folder / "half").write_text("")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), staging(tmp_path) as folder:
        fail(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GenpipeError, match="no space left on the disk of"):
        published(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_publisher_that_is_killed_leaves_no_artifact_and_its_staging_is_cleared(tmp_path):
    script = (
        "import os, pathlib, signal, sys\n"
        "from genpipe.artifacts import staging\n"
        "with staging(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'data').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".staging-")
    with staging(tmp_path) as ours:
        clear_staging(tmp_path)
        assert list(tmp_path.iterdir()) == [ours]


@pytest.mark.parametrize(
    ("name", "days", "stays"),
    [
        (f"{os.getpid()}-0-{socket.gethostname()}", 30, True),  # a long training, still at it
        ("999999999-0-elsewhere", 1, True),  # no process of this host, so it cannot be asked
        ("999999999-0-elsewhere", 30, False),
        ("no-pid", 30, False),
    ],
    ids=["alive", "elsewhere", "elsewhere-long-ago", "nobody"],
)
def test_staging_is_cleared_by_whether_its_process_lives_or_elsewhere_by_age(tmp_path, name, days, stays):
    folder = tmp_path / f".staging-{name}"
    folder.mkdir()
    then = time.time() - days * 24 * 3600
    os.utime(folder, (then, then))
    clear_staging(tmp_path)
    assert folder.exists() == stays


def test_discarding_takes_the_manifest_first(tmp_path, monkeypatch):
    import shutil

    folder = published(tmp_path)
    monkeypatch.setattr(shutil, "rmtree", lambda *a, **k: None)  # as if killed before the rest was removed
    discard(folder)
    with pytest.raises(ArtifactError, match="not a whole artifact"):
        verify(folder)


def test_a_manifest_is_plain_json(tmp_path):
    assert set(json.loads((published(tmp_path) / MANIFEST).read_text())) == {"facts", "files"}


def test_what_is_at_work_never_looks_long_left_to_other_hosts(tmp_path, monkeypatch):
    from genpipe import artifacts

    monkeypatch.setattr(artifacts, "FRESH_SECONDS", 0.01)
    monkeypatch.setattr(socket, "gethostname", lambda: "there")
    with staging(tmp_path) as folder:
        monkeypatch.setattr(socket, "gethostname", lambda: "here")
        os.utime(folder, (0, 0))
        deadline = time.monotonic() + 300
        while folder.stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        clear_staging(tmp_path)
        assert folder.exists()


def test_a_clock_of_this_host_that_jumped_ages_nothing(tmp_path, monkeypatch):
    folder = tmp_path / ".staging-999999999-0-elsewhere"
    folder.mkdir()
    monkeypatch.setattr(time, "time", lambda: 4e9)
    clear_staging(tmp_path)
    assert folder.exists()
    assert list(tmp_path.iterdir()) == [folder]
