"""Disks that are full or read-only, clocks that jump: a run ends cleanly or goes on, and the next one is as good as new."""

import errno
import os
import subprocess
import time
from pathlib import Path

import pytest

from genpipe import api, runs
from genpipe.errors import GenpipeError, StepFailed
from genpipe.runs import all_runs
from genpipe.steps import ProgressFile
from genpipe.workspace import Workspace

MIB = 2**20


@pytest.fixture
def disk(tmp_path):
    """A disk of 2 MiB of its own, where one may be mounted here."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def run(plugins, toy_recipe):
    recipe = toy_recipe()

    def start(folder: Path, *overrides: str, **options: str):
        options = {"tracking": "off", **options}
        return api.run(recipe, overrides, workspace=folder, executor="inline", progress=False, **options)

    return start


def test_a_step_that_fills_the_disk_fails_and_leaves_nothing_half_written(run, disk):
    with pytest.raises(StepFailed, match=r"no space left on the disk of .*; nothing half-written was kept"):
        run(disk, f"right.num_bytes={4 * MIB}")
    failed = next(all_runs(Workspace.choose(disk)))
    assert (failed.status, failed.steps["left"].status) == ("FAILED", "FINISHED")
    assert not list(disk.rglob("filling.bin"))
    assert run(disk).status == "FINISHED"


def test_a_disk_that_is_full_before_a_run_is_told_and_is_used_once_it_has_room(run, disk):
    (disk / "filling.bin").write_bytes(bytes(2 * MIB - 8192))
    with pytest.raises(GenpipeError, match="no space left on the disk"):
        run(disk / "workspace")
    (disk / "filling.bin").unlink()
    assert run(disk / "workspace").status == "FINISHED"


def test_a_disk_that_is_read_only_is_told(run, disk):
    run(disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(GenpipeError, match="cannot be written: Read-only file system"):
        run(disk, "left.value=2")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_record_that_cannot_be_written_at_the_end_hides_neither_result_nor_error(run, tmp_path, monkeypatch, number):
    write, ending = runs.write_atomically, []

    def refuse(path, text):
        if path.name == "run.json" and '"ended": null' not in text:
            ending.append(path)
            raise GenpipeError(os.strerror(number))
        write(path, text)

    monkeypatch.setattr(runs, "write_atomically", refuse)
    with pytest.raises(StepFailed, match="the number's data is not there"):
        run(tmp_path / "workspace", "left.then=mistake")
    assert ending


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_reports_go_on_when_the_clock_jumps(tmp_path, monkeypatch, jump):
    now = time.time
    report = ProgressFile(tmp_path / "progress", interval_seconds=0.0)
    report(1)
    monkeypatch.setattr(time, "time", lambda: now() + jump)
    report(2)
    report.close()
    assert len((tmp_path / "progress").read_text().splitlines()) == 2
