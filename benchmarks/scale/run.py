"""A run of 1,000 shards on this machine: the data stage over 1,000 files, and metrics over 1,000 shards of a row.

Files are small, since it is their number that is tried: what grows with it must stay small in the driver.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

FILES = 1000
ROWS = 1000  # of 64 bytes in each file
METRIC_SHARDS = 1000
WORKERS = 16  # whose shards overtake each other


def thousand_shards() -> dict[str, Any]:
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        began = time.perf_counter()
        rng = np.random.default_rng(0)
        (place / "files").mkdir()
        for i in range(FILES):
            x = rng.integers(0, 17, (ROWS, 1, 8, 8), dtype=np.uint8)
            np.savez(place / "files" / f"{i:04d}.npz", x=x, y=rng.integers(0, 10, ROWS))
        found["files made: s"] = time.perf_counter() - began
        for name, options in {"one process": ["--executor", "inline"], "two workers": ["data.workers=2"]}.items():
            found |= {
                f"data stage of 1,000 files, {name}: {k}": v for k, v in _data_stage(place, name, options).items()
            }
        small = [
            sys.executable,
            "-m",
            "benchmarks.scale.small_shards",
            str(place / "recipe.yaml"),
            str(place / "small"),
        ]
        answer = subprocess.run(small, capture_output=True, text=True, check=True).stdout
        numbers = json.loads(answer.splitlines()[-1])
        found |= {f"data stage of 1,000 files, shards of 64 KiB: {key}": value for key, value in numbers.items()}
    return {**found, **_merges()}


def _data_stage(place: Path, name: str, options: list[str]) -> dict[str, float]:
    workspace = place / name.replace(" ", "-")
    recipe = place / "recipe.yaml"
    recipe.write_text(
        "pipeline: single\n"
        f"data: {{dataset: {{name: npz, path: {place / 'files'}}}}}\n"
        "model: gaussian_mixture\nevaluate: {metrics: [frechet]}\n"
    )
    command = [sys.executable, "-m", "genpipe", "run", str(recipe), "--to", "data", "--tracking", "off", *options]
    began = time.perf_counter()
    with (place / "log").open("ab") as log:
        process = subprocess.Popen([*command, "--workspace", str(workspace)], stdout=log, stderr=log)
        peak = 0
        while process.poll() is None:
            peak = max(peak, _peak_bytes(process.pid))
            time.sleep(0.05)
    if process.returncode != 0:
        raise RuntimeError((place / "log").read_text()[-2000:])
    seconds = time.perf_counter() - began
    (artifact,) = (workspace / "artifacts" / "data").iterdir()
    shards = list(artifact.glob("*/*.parquet"))
    index = (artifact / "splits.json").stat().st_size
    return {
        "s": seconds,
        "driver's peak MiB": peak / 2**20,
        "shards written": len(shards),
        "index bytes": index,
        "examples per second": FILES * ROWS / seconds,
    }


def _peak_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def _merges() -> dict[str, float]:
    """As many states of each metric as there are shards, through the evaluation's tree, as WORKERS give them."""
    import torch

    from benchmarks.scale.costs import EXAMPLES, FEATURES, _log_prob
    from genpipe.dataspec import DataSpec
    from genpipe.evaluation import Metric, Reference, Shard
    from genpipe.pipelines.evaluate.merge_tree import MergeTree
    from genpipe.registry import registry

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(EXAMPLES, FEATURES, generator=generator, dtype=torch.float64)
    spec = DataSpec(name="points", event="vector", shape=(FEATURES,), mean=(0.0,) * FEATURES, std=(1.0,) * FEATURES)
    reference = Reference(
        spec=spec, train=real, held_out=real, train_features=real, held_out_features=real, extractor="x"
    )
    found: dict[str, float] = {}
    for provided in registry().all("metric"):
        metric: Metric = provided.record.builder(provided.record.config_class())
        metric.prepare(reference)
        states = [
            metric.shard(Shard(x=x, features=x, first_index=i * len(x), log_prob=_log_prob))
            for i, x in enumerate(real.repeat(METRIC_SHARDS * 64 // EXAMPLES + 1, 1)[: METRIC_SHARDS * 64].split(64))
        ]
        tree, held = MergeTree(METRIC_SHARDS, metric.merge), 0
        began = time.perf_counter()
        for shard in np.argsort(np.arange(METRIC_SHARDS) + np.random.default_rng(0).uniform(0, WORKERS, METRIC_SHARDS)):
            tree.add(int(shard), states[shard])
            held = max(held, tree.num_held)
        name = f"metric {provided.record.name}, 1,000 states of 64 examples"
        found |= {f"{name}: s to merge": time.perf_counter() - began, f"{name}: most held at once": held}
    found["this process's peak MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found["CPUs"] = os.cpu_count() or 0
    return found
