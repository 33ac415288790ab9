"""Costs that one process bears, by the example, the shard, the file, the metric's state and the report."""

from __future__ import annotations

import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.multiprocessing as multiprocessing

from genpipe import artifacts
from genpipe.data import Order
from genpipe.data.shard import Shard as DataShard
from genpipe.data.sharded_array import ShardedArray
from genpipe.data.splits import cut, hashes, split_sizes
from genpipe.dataspec import DataSpec
from genpipe.evaluation import Metric, Reference, Shard, State
from genpipe.model import LogProb
from genpipe.observers import Observers
from genpipe.registry import registry
from genpipe.steps import ProgressFile
from genpipe.training import checkpoints

BILLION = 10**9
BATCH = 4096
REPEATS = 5
EXAMPLES = 2000  # of a metric's shard
FEATURES = 64


def unit_costs() -> dict[str, Any]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        return {
            **_order(),
            **_splits(),
            **_index(place),
            **_manifest(place),
            **_checkpoint(place),
            **_metrics(),
            **_reports(place),
            **_all_reduce(),
            **_tracker(place),
        }


def median_seconds(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _order() -> dict[str, float]:
    order = Order(BILLION, seed=0)
    position = iter(range(0, BILLION, BATCH))
    seconds = median_seconds(lambda: order.indices(next(position), BATCH), 50)
    return {"order: ns per index, of 10^9": seconds / BATCH * 1e9}


def _splits() -> dict[str, float]:
    count = 1 << 20
    one = median_seconds(lambda: hashes(0, 0, count))
    cuts = cut(10**7, split_sizes(10**7, {"test": 0.2}), 0)
    return {
        "split: ns per hash": one / count * 1e9,
        "split: ns per example to find the cuts, of 10^7": (
            median_seconds(lambda: cut(10**7, split_sizes(10**7, {"test": 0.2}), 0), 2) / 1e7 * 1e9
        ),
        "split: ns per example to tell its split": median_seconds(lambda: cuts.of(0, count)) / count * 1e9,
    }


def _index(place: Path) -> dict[str, float]:
    """The list of shards that a data artifact carries, and what it costs to find an example through it."""
    num = 10_000
    shards = [DataShard(f"train/{i:05d}.parquet", 5461, 67_108_000, 4, 67_000_000) for i in range(num)]
    text = json.dumps([asdict(shard) for shard in shards], indent=1)
    found = ShardedArray(place, shards, "x", (3, 64, 64), "uint8")
    rng = np.random.default_rng(0)
    wanted = rng.integers(0, len(found), BATCH)
    return {
        "index: bytes per shard": len(text) / num,
        "index: µs per shard to read": median_seconds(lambda: [DataShard(**s) for s in json.loads(text)]) / num * 1e6,
        "index: ns per example to find its shard, of 10^4": (
            median_seconds(lambda: np.searchsorted(found._starts, wanted, side="right"), 50) / BATCH * 1e9
        ),
    }


def _manifest(place: Path) -> dict[str, float]:
    num, size = 1000, 4096
    folder = place / "staged"

    def fill() -> None:
        folder.mkdir()
        for i in range(num):
            (folder / f"{i:05d}.parquet").write_bytes(os.urandom(64) * (size // 64))

    times = []
    for i in range(3):
        fill()
        began = time.perf_counter()
        artifacts.publish(folder, place / f"artifact-{i}", {})
        times.append(time.perf_counter() - began)
    manifest = (place / "artifact-0" / artifacts.MANIFEST).stat().st_size
    large = place / "large"
    large.write_bytes(os.urandom(1 << 26))
    return {
        "artifact: manifest bytes per file": manifest / num,
        "artifact: ms per small file to publish, synced": statistics.median(times) / num * 1e3,
        "artifact: ms per small file to verify": median_seconds(lambda: artifacts.verify(place / "artifact-0"), 3)
        / num
        * 1e3,
        "artifact: SHA-256 GB/s": (1 << 26) / median_seconds(lambda: artifacts.sha256(large), 3) / 1e9,
    }


def _checkpoint(place: Path) -> dict[str, float]:
    weights = {f"layer{i}": torch.randn(1 << 20) for i in range(16)}  # 64 MiB, of 256 with averages and Adam's moments
    state = checkpoints.TrainState(
        step=1,
        weights=weights,
        ema=dict(weights),
        train_state={},
        optimizers={f"{k}.{m}": t for k, t in weights.items() for m in ("first", "second")},
        history=[],
        window=[],
        seconds=0.0,
    )
    size = 4 * 16 * 4 * (1 << 20)
    written = median_seconds(lambda: checkpoints.write(place / "scratch", state, {}), 3)
    read = median_seconds(lambda: checkpoints.read_newest(place / "scratch", {}), 3)
    return {
        "checkpoint: MB/s written, synced": size / written / 1e6,
        "checkpoint: MB/s read, verified": size / read / 1e6,
    }


def _metrics() -> dict[str, float]:
    """Of each metric the bytes of a state and the time to merge two, at FEATURES features."""
    rng = torch.Generator().manual_seed(0)
    draw = [torch.randn(EXAMPLES, FEATURES, generator=rng, dtype=torch.float64) for _ in range(4)]
    spec = DataSpec(name="points", event="vector", shape=(FEATURES,), mean=(0.0,) * FEATURES, std=(1.0,) * FEATURES)
    reference = Reference(
        spec=spec, train=draw[0], held_out=draw[1], train_features=draw[0], held_out_features=draw[1], extractor="x"
    )
    found = {}
    for provided in registry().all("metric"):
        record = provided.record
        metric: Metric = record.builder(record.config_class())
        metric.prepare(reference)
        first, second = (
            metric.shard(Shard(x=x, features=x, first_index=i * EXAMPLES, log_prob=_log_prob))
            for i, x in enumerate(draw[2:])
        )
        name = f"metric {record.name}, {EXAMPLES} examples, {FEATURES} features"
        found[f"{name}: state bytes"] = _size(first)
        seconds = median_seconds(lambda m=metric, a=first, b=second: m.merge(a, b), 20)
        found[f"{name}: µs per merge"] = seconds * 1e6
    return found


def _log_prob(x: torch.Tensor, y: torch.Tensor | None = None, *, seed: int = 0, first_index: int = 0) -> LogProb:
    return LogProb(-0.5 * x.flatten(1).square().sum(1), "exact")


def _size(state: State) -> int:
    return sum(value.numel() * value.element_size() for value in state.values() if isinstance(value, torch.Tensor))


def _reports(place: Path) -> dict[str, float]:
    """What a step tells the driver: bytes of a report, and the time to read one and tell nobody of it."""
    path = place / "progress.jsonl"
    num = 10_000
    progress = ProgressFile(path)
    began = time.perf_counter()
    for at in range(num):
        progress(at, num, keep=True, loss=1.25, learning_rate=0.001, reconstruction=1.0, kl=0.25)
    written = time.perf_counter() - began
    progress.close()
    observers = Observers(registry(), ())

    def read() -> None:
        for line in path.read_bytes().splitlines():
            report = json.loads(line)
            observers.notify("step_progress", run=None, step="train", **report)

    return {
        "report: bytes": path.stat().st_size / num,
        "report: µs to write": written / num * 1e6,
        "report: µs for the driver to read": median_seconds(read, 3) / num * 1e6,
    }


def _all_reduce() -> dict[str, float]:
    """Gradients between two processes of this machine, over gloo."""
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    with tempfile.NamedTemporaryFile() as meeting:
        processes = [
            context.Process(target=_reducer, args=(rank, meeting.name + ".store", results)) for rank in range(2)
        ]
        for process in processes:
            process.start()
        found: dict[str, float] = results.get()
        for process in processes:
            process.join()
    return found


def _reducer(rank: int, path: str, results: Any) -> None:
    import torch.distributed as distributed

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    found = {}
    for size in (4, 64):
        tensor = torch.ones(size << 18)
        seconds = median_seconds(lambda t=tensor: distributed.all_reduce(t), 10)
        found[f"all-reduce of {size} MiB between 2 processes: ms"] = seconds * 1e3
    tiny = torch.ones(1)
    found["all-reduce of 4 bytes between 2 processes: µs"] = (
        median_seconds(lambda: distributed.all_reduce(tiny), 200) * 1e6
    )
    if rank == 0:
        results.put({key: value for key, value in found.items() if math.isfinite(value)})
    distributed.barrier()
    distributed.destroy_process_group()


def _tracker(place: Path) -> dict[str, float]:
    """What MLflow's sqlite store takes; the tracker's thread pays it, and no step."""
    from mlflow.entities import Metric as Point

    from genpipe.tracking.mlflow_sender import make_client

    began = time.perf_counter()
    client, experiment = make_client(f"sqlite:///{place / 'mlflow.db'}", place / "artifacts")
    made = time.perf_counter() - began
    run = client.create_run(experiment).info.run_id
    steps = iter(range(10**9))

    def send() -> None:
        client.log_batch(run, metrics=[Point("loss", 1.0, 0, next(steps)) for _ in range(1000)])

    return {
        "tracker: s to import MLflow and make a store": made,
        "tracker: ms per run created": median_seconds(lambda: client.create_run(experiment), 5) * 1e3,
        "tracker: µs per point, 1,000 in a call": median_seconds(send, 5) / 1000 * 1e6,
    }
