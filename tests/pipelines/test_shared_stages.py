"""Whole runs whose sampling and evaluation are shared between processes."""

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
resources: {sample: {cpus: 1}, evaluate: {cpus: 1}}
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
    for step in ("sample", "evaluate"):
        assert alone.steps[step].key == shared.steps[step].key
        files = read_manifest(alone.artifact(step)).files
        assert files == read_manifest(shared.artifact(step)).files
        assert read_manifest(shared.artifact(step)).summary["workers"] == (2 if executor == "ray" else 1)
    assert {"samples.npy", "grid.png"} <= set(read_manifest(shared.artifact("sample")).files)
    assert {"table.json", "nearest.npz"} <= set(read_manifest(shared.artifact("evaluate")).files)
    if executor == "ray":
        assert "worker 1 is up" in shared.log("evaluate").read_text()
