"""How fast examples reach training: from memory, from shards, and from data that is much larger than memory may be.

    python -m benchmarks.input rows [--json FILE]        rows per second of reading a set in shards, in several ways
    python -m benchmarks.input steps [--json FILE]       training steps per second from memory beside from shards
    python -m benchmarks.input large [--gigabytes 20] [--steps 300] [--workers 2] [--workspace FOLDER] [--json FILE]

`rows` and `steps` make a set of 3×64×64 images in a temporary folder; ways take turns, a first round warms up, medians
are printed. Files are in the page cache, so that what is timed is the reading and not the disk. `large` is a run on an
embedded Ray: it makes a set of the given size, trains on part of an epoch, and prints how much memory each process had
resident at most; all of it is removed at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet
import torch

import genpipe.registry
from benchmarks.synthetic import WIDTH, Synthetic, install
from benchmarks.training import device_name
from genpipe.artifacts import read_manifest
from genpipe.config import Component, Config
from genpipe.data import Order, Split, open_split
from genpipe.data import sharded_array as sharded_array_module
from genpipe.model import Batch
from genpipe.pipelines.data.config import DataConfig
from genpipe.pipelines.data.stage import run as run_data
from genpipe.steps import ProgressFile, StepContext
from genpipe.training.config import TrainConfig
from genpipe.training.feed import Feed
from genpipe.training.loop import build_model, train

BATCH = 64


def make(folder: Path, num_examples: int) -> Path:
    """A data artifact by the stage itself, in this process."""
    out, scratch = folder / "data", folder / "scratch"
    out.mkdir(parents=True)
    scratch.mkdir()
    record = SimpleNamespace(name="synthetic", builder=lambda config, seed: Synthetic(num_examples))
    context = StepContext(
        step="data",
        stage="data",
        config=DataConfig(dataset=Component("dataset", "synthetic", Config()), test_fraction=0.01),
        seed=0,
        inputs={},
        out=out,
        scratch=scratch,
        registry=SimpleNamespace(get=lambda kind, name: record),  # type: ignore[arg-type]
        progress=ProgressFile(None),
    )
    run_data(context)
    shutil.rmtree(scratch)
    return out


def in_turns(ways: dict[str, Callable[[], int]], rounds: int) -> dict[str, float]:
    """Way → units per second, the median over the rounds after the first."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in list(ways.items())[:: 1 if turn % 2 else -1]:
            begun = time.perf_counter()
            units = way()
            if turn:
                rates[name].append(units / (time.perf_counter() - begun))
    return {name: statistics.median(values) for name, values in rates.items()}


def measure_rows(args: argparse.Namespace) -> dict[str, Any]:
    num = 40_000
    with tempfile.TemporaryDirectory() as folder:
        split = open_split(make(Path(folder), num), "train")
        sharded_array_module.LOADED_BYTES = 0  # as a set that is too large for memory is read
        x, order, batches = split.x, Order(len(split), 0), len(split) // BATCH
        files = [x.folder / shard.file for shard in x.shards]

        def gather() -> int:
            for batch in range(batches):
                x[order.indices(batch * BATCH, BATCH)]
            return batches * BATCH

        def sequential() -> int:
            for batch in range(batches):
                x[batch * BATCH : (batch + 1) * BATCH]
            return batches * BATCH

        def decoded() -> int:
            """What a loader without offsets does that shuffles inside of a row group."""
            rows = 0
            for file in files:
                column = pyarrow.parquet.read_table(file, columns=["x"])["x"].chunk(0)
                pixels = np.frombuffer(column.buffers()[1], dtype=np.uint8).reshape(len(column), 3, 64, 64)
                for batch in np.array_split(np.random.default_rng(0).permutation(len(pixels)), len(pixels) // BATCH):
                    pixels[batch]
                rows += len(pixels)
            return rows

        def one_by_one() -> int:
            """True random access by a Parquet reader: the row's group is decoded for every row."""
            for row in order.indices(0, 4).tolist():
                shard = int(np.searchsorted(x._starts, row, side="right")) - 1
                pyarrow.parquet.read_table(files[shard], columns=["x"])["x"][row - int(x._starts[shard])].as_py()
            return 4

        whole = np.concatenate([x[start : start + 4096] for start in range(0, len(x), 4096)])

        def memory() -> int:
            for batch in range(batches):
                whole[order.indices(batch * BATCH, BATCH)]
            return batches * BATCH

        ways = {
            "random, from an array in memory": memory,
            "random, from shards (ours)": gather,
            "in order, from shards (ours)": sequential,
            "row groups decoded by pyarrow, shuffled inside": decoded,
            "random, each row's group decoded by pyarrow": one_by_one,
        }
        rates = in_turns(ways, args.rounds)
    for name, rate in rates.items():
        print(f"{name:50} {rate:12,.0f} rows/s {rate * WIDTH / 1e6:10,.0f} MB/s")
    return {"rows_per_second": rates, "row_bytes": WIDTH, "num_rows": num, "batch_size": BATCH}


def measure_steps(args: argparse.Namespace) -> dict[str, Any]:
    """A model as small as can be at this size, and one that computes more; how long each waits for its batches."""
    rows = []
    waited = {"memory": 0.0, "shards": 0.0}
    spent = dict(waited)
    batch = Feed.batch

    def timed(feed: Feed, position: int, count: int) -> Batch:
        begun = time.perf_counter()
        given = batch(feed, position, count)
        waited["shards" if feed.streams else "memory"] += time.perf_counter() - begun
        return given

    Feed.batch = timed  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        split = open_split(make(Path(folder), 6000), "train")
        whole = Split(split.spec, split.name, np.asarray(split.x), None)
        sharded_array_module.LOADED_BYTES = 0
        family = genpipe.registry.registry().get("family", args.family)
        for options, batch_size, steps in (({"channels": 4}, 32, 12), ({"channels": 16}, 32, 6)):
            config = TrainConfig(steps=steps, batch_size=batch_size)

            def trained(
                split: Split, options: dict[str, Any] = options, config: TrainConfig = config
            ) -> Callable[[], int]:
                def run() -> int:
                    model = build_model(family, family.config_class(**options), split.spec, seed=0)
                    with tempfile.TemporaryDirectory() as scratch:
                        result = train(
                            model,
                            split,
                            config,
                            seed=0,
                            device=args.device,
                            scratch=Path(scratch),
                            progress=ProgressFile(None),
                        )
                    spent["memory" if split is whole else "shards"] += result.seconds
                    return config.steps

                return run

            rates = in_turns({"memory": trained(whole), "shards": trained(split)}, args.rounds)
            case = f"{args.family} {options}, batches of {batch_size} images of 3×64×64"
            row: dict[str, Any] = {"case": case}
            print(case)
            for name, rate in rates.items():
                row[name] = {"steps_per_second": rate, "share_of_time_in_batches": waited[name] / spent[name]}
                print(f"  from {name:8} {rate:8.2f} steps/s, {waited[name] / spent[name]:6.2%} of the time in batches")
                waited[name] = spent[name] = 0.0
            rows.append(row)
    return {"rows": rows}


def measure_large(args: argparse.Namespace) -> dict[str, Any]:
    """A run on an embedded Ray, in a workspace of its own, its processes' memory looked at twice a second."""
    num = int(args.gigabytes * 1e9) // WIDTH
    folder = Path(tempfile.mkdtemp(dir=args.workspace, prefix="input-"))
    recipe = {
        "pipeline": "single",
        "seed": 0,
        "data": {
            "dataset": {"name": "synthetic", "num_examples": num},
            "test_fraction": 0.01,
            "workers": args.workers,
        },
        "model": {"name": "vae", "channels": 2},
        "train": {"steps": args.steps, "batch_size": BATCH},
    }
    try:
        path = folder / "large.yaml"
        path.write_text(json.dumps(recipe))
        paths = [*install(folder / "plugin"), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "GENPIPE_HOME": str(folder / "workspace")}
        command = [sys.executable, "-m", "genpipe", "run", str(path), "--to", "train"]
        with subprocess.Popen(command, env=environment) as process:
            peaks = peak_memory(process)
        if process.returncode:
            raise SystemExit(f"the run ended with {process.returncode}")
        artifacts = folder / "workspace" / "artifacts"
        facts = {kind: read_manifest(next((artifacts / kind).iterdir())) for kind in ("data", "model")}
        size = sum(file["bytes"] for name, file in facts["data"].files.items() if name.endswith(".parquet"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = {kind: manifest.seconds for kind, manifest in facts.items()}
    print(f"data:  {size / 1e9:.1f} GB, {num:,} images, by {args.workers} workers in {seconds['data']:.0f} s")
    print(
        f"train: {args.steps} steps of {BATCH} in {seconds['model']:.0f} s: {args.steps * BATCH / num:.1%} of an epoch"
    )
    for name, memory in sorted(peaks.items()):
        print(f"{name:40} at most {memory['VmHWM']:6} MiB resident, {memory['RssAnon']:6} MiB of its own")
    return {"bytes": size, "num_examples": num, "seconds": seconds, "mib_at_most": peaks}


def peak_memory(process: subprocess.Popen[bytes]) -> dict[str, dict[str, int]]:
    """Name → MiB that any process of that name had at most, under `process` and itself, until it ends."""
    peaks: dict[str, dict[str, int]] = {}
    while process.poll() is None:
        for pid in descendants(process.pid):
            with contextlib.suppress(OSError, KeyError, ValueError):
                command = (
                    Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                )
                name = "the command" if pid == process.pid else short_name(command)
                now, most = resident(pid), peaks.setdefault(name, {"VmHWM": 0, "RssAnon": 0})
                peaks[name] = {kind: max(most[kind], now[kind]) for kind in most}
        time.sleep(0.5)
    return peaks


def short_name(command: str) -> str:
    """Ray's workers are known by what they do, and other processes by their program."""
    first, *rest = command.split()
    if first.startswith("ray::"):
        return " ".join([first, *rest])[:40]
    scripts = [word for word in rest if word.endswith(".py") or word.startswith("genpipe.")]
    return Path((scripts or [first])[0]).name[:40]


def descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += parents.get(found[-1], [])
    return found


def resident(pid: int) -> dict[str, int]:
    """MiB that a process had resident at most, and has now in pages of its own."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: int(lines[name].split()[0]) // 1024 for name in ("VmHWM", "RssAnon")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rows", "steps", "large"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--family", default="vae", help="of `steps`")
    parser.add_argument("--gigabytes", type=float, default=20)
    parser.add_argument("--steps", type=int, default=300, help="of `large`")
    parser.add_argument("--workers", type=int, default=2, help="of the stage `data`, for `large`")
    parser.add_argument("--workspace", help="where `large` writes; a temporary folder by default")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    environment = {
        "device": device_name(args.device),
        "threads": args.threads,
        "torch": torch.__version__,
        "pyarrow": pyarrow.__version__,
        "python": platform.python_version(),
        "command": "python " + " ".join(["-m benchmarks.input", *sys.argv[1:]]),
    }
    print(", ".join(f"{key} {value}" for key, value in environment.items()))
    measure = {"rows": measure_rows, "steps": measure_steps, "large": measure_large}[args.what]
    found = {**environment, **measure(args)}
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
