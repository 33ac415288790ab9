"""Whole runs whose sampling and evaluation are shared between processes."""

import contextlib
import os
import signal
import threading
from pathlib import Path

import pytest

from genpipe import api
from genpipe.artifacts import read_manifest

RECIPE = """
pipeline: single
data: {dataset: {name: digits, limit: 400}}
model: {name: vae, channels: 4, latent_dim: 4}
train: {steps: 20, batch_size: 32, warmup_steps: 0}
sample: {num: 50, batch_size: 16}
evaluate: {metrics: [likelihood, frechet, novelty, prdc], batch_size: 16, num: 80}
resources: {sample: {cpus: 1}, features: {cpus: 1}, evaluate: {cpus: 1}}
"""


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["ray", "inline"])
def test_any_number_of_workers_makes_the_same_files(tmp_path, executor):
    (tmp_path / "shared.yaml").write_text(RECIPE)

    def run(name, workers, executor):
        overrides = [f"sample.workers={workers}", f"evaluate.workers={workers}"]
        options = {"tracking": "off", "progress": False, "workspace": tmp_path / name, "executor": executor}
        return api.run(tmp_path / "shared.yaml", overrides, **options)

    alone, shared = run("alone", 1, "inline"), run("shared", 2, executor)
    for step in ("sample", "features", "evaluate"):
        assert alone.steps[step].key == shared.steps[step].key
        files = read_manifest(alone.artifact(step)).files
        assert files == read_manifest(shared.artifact(step)).files
        assert read_manifest(shared.artifact(step)).summary["workers"] == (2 if executor == "ray" else 1)
    assert {"samples.npy", "grid.png"} <= set(read_manifest(shared.artifact("sample")).files)
    assert {"table.json", "nearest.npz"} <= set(read_manifest(shared.artifact("evaluate")).files)
    if executor == "ray":
        assert "worker 1 is up" in shared.log("evaluate").read_text()


def processes_with(path: Path) -> dict[int, str]:
    """Title of each process that has a file open."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.path.realpath(file) == str(path) for file in (entry / "fd").iterdir()):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().split(b"\0")[0].decode()
    return found


@pytest.mark.slow
def test_kills_of_workers_and_of_the_step_itself_change_no_file(tmp_path):
    (tmp_path / "shared.yaml").write_text(RECIPE.replace("num: 50, batch_size: 16", "num: 6000, batch_size: 2"))
    options = {"tracking": "off", "progress": False, "to_step": "sample"}
    alone = api.run(tmp_path / "shared.yaml", [], workspace=tmp_path / "alone", executor="inline", **options)
    killed = []

    def kill():
        """A worker, then another, then the step's own process, each once it is at work."""
        for title in ("ray::Worker", "ray::Worker", "ray::sample"):
            while not stopped.wait(0.05):
                logs = list((tmp_path / "shared").glob("runs/*/steps/sample.log"))
                pids = [pid for log in logs for pid, name in processes_with(log).items() if name.startswith(title)]
                held = list((tmp_path / "shared").glob("scratch/*/samples.ranges.jsonl"))
                if pids and held and held[0].stat().st_size and pids[0] not in killed:
                    os.kill(pids[0], signal.SIGKILL)
                    killed.append(pids[0])
                    break

    stopped = threading.Event()
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        shared = api.run(tmp_path / "shared.yaml", ["sample.workers=2"], workspace=tmp_path / "shared", **options)
    finally:
        stopped.set()
        killer.join()
    assert len(killed) == 3
    assert read_manifest(alone.artifact("sample")).files == read_manifest(shared.artifact("sample")).files
    log = shared.log("sample").read_text()
    assert "was lost: its process died" in log
    assert "started again from what it kept" in log
