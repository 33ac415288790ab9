"""The data stage with shards of 64 KiB in place of 64 MiB: many shards of little data, in this process.

    python -m benchmarks.scale.small_shards RECIPE WORKSPACE

Prints JSON: seconds, this process's peak, the shards, and what opening and reading them takes.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

import genpipe
from genpipe.data import Order, open_split
from genpipe.data import shard as data_shard
from genpipe.pipelines.data import pieces

SMALL = 64 << 10
BATCH, BATCHES = 256, 200


def main() -> None:
    recipe, workspace = sys.argv[1:]
    data_shard.SHARD_BYTES = pieces.SHARD_BYTES = SMALL
    began = time.perf_counter()
    run = genpipe.run(recipe, workspace=workspace, executor="inline", to_step="data", tracking="off", progress=False)
    seconds = time.perf_counter() - began
    folder = run.artifact("data")
    began = time.perf_counter()
    again = genpipe.run(recipe, workspace=workspace, executor="inline", to_step="data", tracking="off", progress=False)
    assert again.steps["data"].status == "CACHED"
    reused = time.perf_counter() - began
    began = time.perf_counter()
    split = open_split(folder, "train")
    opened = time.perf_counter() - began
    order = Order(len(split), seed=0)
    began = time.perf_counter()
    for batch in range(BATCHES):
        np.asarray(split.x[order.indices(batch * BATCH, BATCH)])
    numbers = {
        "s": seconds,
        "s to find it made already, and its checksums right": reused,
        "driver's peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "shards written": len(list(Path(folder).glob("*/*.parquet"))),
        "index bytes": (Path(folder) / "splits.json").stat().st_size,
        "manifest bytes": (Path(folder) / "manifest.json").stat().st_size,
        "ms to open the training split": opened * 1e3,
        "µs per example read at random": (time.perf_counter() - began) / (BATCH * BATCHES) * 1e6,
    }
    print(json.dumps(numbers))


if __name__ == "__main__":
    main()
