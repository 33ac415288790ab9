"""Metrics between sets of features beside the packages that people use: time, the most memory, and whether they agree.

    python -m benchmarks.evaluation [fd] [kid] [kid32] [prdc] [--torch-fidelity FOLDER] [--repeats 3] [--json FILE]

fd: 50,000 + 50,000 features of 2,048 dimensions, from files to the distance. Baseline: numpy's covariances and scipy's
sqrtm, as pytorch-fid and torch-fidelity have it; ours also gives the bias-corrected distance and the standard error.
kid: 10,000 + 10,000 of 2,048. Baseline: torch-fidelity's 100 subsets of 1,000, on the same float64 features; kid32: on
float32, as its own extractors give. Ours is of all pairs.
prdc: 10,000 + 10,000 of 64 and of 2,048. Baseline: the package prdc.

Every measurement is a process of its own, in turns, ours and the baseline's; medians are printed. Time is from features
at rest to the number, without imports and starts; memory is the most that the process had resident, and what of it
Python and its packages took before it began. Wants both cores of a machine, 1.7 GB of disk for features and 6 minutes.
--torch-fidelity: a folder with the unpacked wheel of torch-fidelity 0.3.0, for where it is not installed, as its
dependencies are not all needed. --json: cases that were not run now stay in the file as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Found = dict[str, float]

ROWS = 4096  # of a shard


def make(folder: Path, name: str, num: int, dims: int, seed: int) -> None:
    """Rectified and correlated, as a network's are; of another width and mean for each seed."""
    drawn = np.random.default_rng(0).standard_normal((dims, dims), dtype=np.float32)
    mix = drawn * np.arange(1, dims + 1, dtype=np.float32) ** -0.5 / np.sqrt(dims)
    draw = np.random.default_rng(seed)
    file = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", "float64", (num, dims))
    for start in range(0, num, 5000):
        rows = min(5000, num - start)
        file[start : start + rows] = np.maximum(
            draw.standard_normal((rows, dims), dtype=np.float32) @ mix * (1 + 0.05 * seed) + 0.02, 0
        )


def blocks(path: Path) -> Iterator[Array]:
    """Of an array at rest, read and not mapped, so that memory counts what is held."""
    whole = np.load(path, mmap_mode="r")
    (num, dims), offset = whole.shape, whole.offset
    with path.open("rb") as file:
        file.seek(offset)
        for start in range(0, num, ROWS):
            rows = min(ROWS, num - start)
            yield np.fromfile(file, "float64", rows * dims).reshape(rows, dims)


def by_metric(folder: Path, plugin: str, config: dict[str, Any]) -> Found:
    """A metric of ours, shard by shard as an evaluation runs it."""
    import torch

    from genpipe.dataspec import DataSpec
    from genpipe.evaluation import Metric, Reference, Shard, State
    from genpipe.registry import registry

    record = registry().get("metric", plugin)
    metric: Metric = record.builder(record.config_class(**config))
    dims = np.load(folder / "real.npy", mmap_mode="r").shape[1]
    none = torch.empty(0, dims, dtype=torch.float64)
    spec = DataSpec(name="features", event="vector", shape=(dims,))

    def state_of(name: str) -> State:
        state, first = None, 0
        for block in blocks(folder / f"{name}.npy"):
            features = torch.from_numpy(block)
            shard = metric.shard(Shard(x=features[:0], features=features, first_index=first))
            first += len(features)
            del features, block
            state = shard if state is None else metric.merge(state, shard)
            del shard
        assert state is not None
        return state

    metric.prepare(
        Reference(
            spec=spec, train=none, held_out=none, train_features=none, held_out_features=none, extractor="features"
        )
    )
    metric.calibrate({"train": state_of("real")})
    found: Found = {}
    for cell in metric.result(state_of("samples")):
        found[cell.name] = cell.value
        if cell.standard_error is not None:
            found[f"{cell.name} ±"] = cell.standard_error
    return found


def fd_ours(folder: Path, _: Path | None) -> Found:
    return by_metric(folder, "frechet", {})


def fd_baseline(folder: Path, _: Path | None) -> Found:
    from scipy.linalg import sqrtm

    means, covariances = [], []
    for name in ("real", "samples"):
        features = np.load(folder / f"{name}.npy")
        means.append(features.mean(axis=0))
        covariances.append(np.cov(features, rowvar=False))
        del features
    shift = means[0] - means[1]
    root = sqrtm(covariances[0].dot(covariances[1]))
    traces = np.trace(covariances[0]) + np.trace(covariances[1])
    return {"FD": float(shift.dot(shift) + traces - 2 * np.trace(root.real))}


def kid_ours(folder: Path, _: Path | None) -> Found:
    return by_metric(folder, "kid", {})


def kid_baseline(folder: Path, fidelity: Path | None, dtype: str = "float64") -> Found:
    import torch

    kid = _torch_fidelity(fidelity)
    sets = [torch.from_numpy(np.load(folder / f"{name}.npy").astype(dtype)) for name in ("samples", "real")]
    options = {"kid_subsets": 100, "kid_subset_size": 1000, "kid_degree": 3, "kid_gamma": None, "kid_coef0": 1}
    found = kid.kid_features_to_metric(*sets, **options, rng_seed=0, verbose=False)
    return {
        "KID": found["kernel_inception_distance_mean"],
        "subsets' deviation": found["kernel_inception_distance_std"],
    }


def kid32_baseline(folder: Path, fidelity: Path | None) -> Found:
    return kid_baseline(folder, fidelity, "float32")


def _torch_fidelity(folder: Path | None) -> Any:
    import importlib

    if folder is not None:
        # Its package imports torchvision for images, of which there are none here.
        package = types.ModuleType("torch_fidelity")
        package.__path__ = [str(folder / "torch_fidelity")]
        images: Any = types.ModuleType("torch_fidelity.utils")
        images.create_feature_extractor = images.extract_featuresdict_from_input_id_cached = None
        sys.modules |= {"torch_fidelity": package, "torch_fidelity.utils": images}
    return importlib.import_module("torch_fidelity.metric_kid")


def prdc_ours(folder: Path, _: Path | None) -> Found:
    return by_metric(folder, "prdc", {})


def prdc_baseline(folder: Path, _: Path | None) -> Found:
    import contextlib
    import io

    from prdc import compute_prdc

    real, samples = (np.load(folder / f"{name}.npy") for name in ("real", "samples"))
    with contextlib.redirect_stdout(io.StringIO()):
        found = compute_prdc(real, samples, nearest_k=5)
    return {name: float(value) for name, value in found.items()}


PARTS: dict[str, Callable[[Path, Path | None], Found]] = {
    "fd_ours": fd_ours,
    "fd_baseline": fd_baseline,
    "kid_ours": kid_ours,
    "kid_baseline": kid_baseline,
    "kid32_ours": kid_ours,
    "kid32_baseline": kid32_baseline,
    "prdc_ours": prdc_ours,
    "prdc_baseline": prdc_baseline,
}
# Title, examples on each side, dimensions, the goal for the ratio.
CASES: dict[str, list[tuple[str, int, int, float]]] = {
    "fd": [("Fréchet distance", 50_000, 2048, 5.0)],
    "kid": [("KID", 10_000, 2048, 2.0)],
    "kid32": [("KID, the baseline on float32 features", 10_000, 2048, 2.0)],
    "prdc": [("precision, recall, density, coverage", 10_000, dims, 3.0) for dims in (64, 2048)],
}


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run_part(part: str, folder: Path, fidelity: Path | None) -> None:
    if part.endswith("ours"):
        import torch

        from genpipe import ops

        # The first call of such an op imports what compiles it, seconds that a run spends once.
        few = torch.zeros(8, 2, dtype=torch.float64)
        ops.moments(few), ops.knn_distances(few, few, 1), ops.ball_counts(few, few)
    elif part.startswith("fd"):
        import scipy.linalg  # noqa: F401
    elif part.startswith("prdc"):
        import prdc  # noqa: F401
    else:
        import torch
    before = _peak_bytes()
    begun, used = time.perf_counter(), time.process_time()
    found = PARTS[part](folder, fidelity)
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - begun,
                "processor_seconds": time.process_time() - used,
                "before_bytes": before,
                "peak_bytes": _peak_bytes(),
                "found": found,
            }
        )
    )


def measure(part: str, folder: Path, fidelity: Path | None) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.evaluation", "--part", part, "--folder", str(folder)]
    command += ["--torch-fidelity", str(fidelity)] if fidelity else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1]
        return {"skipped": last}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    whole = {name: statistics.median(run[name] for run in runs) for name in ("seconds", "processor_seconds")}
    memory = {name: max(run[name] for run in runs) for name in ("before_bytes", "peak_bytes")}
    return {**whole, **memory, "runs": runs, "found": runs[0]["found"]}


def run_case(
    kind: str, title: str, num: int, dims: int, goal: float, options: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    make(folder, "real", num, dims, 1)
    make(folder, "samples", num, dims, 2)
    runs: dict[str, list[dict[str, Any]]] = {"baseline": [], "ours": []}
    for _ in range(options.repeats):
        for side, found in runs.items():
            found.append(measure(f"{kind}_{side}", folder, options.torch_fidelity))
    result: dict[str, Any] = {"title": title, "num": num, "dims": dims, "goal": goal, "load": os.getloadavg()[0]}
    print(f"\n{title}: {num:,} + {num:,} of {dims} dimensions")
    for side, found in runs.items():
        if "skipped" in found[0]:
            result[side] = found[0]
            print(f"  {side:9} skipped: {found[0]['skipped']}")
            continue
        result[side] = median(found)
        numbers = ", ".join(f"{name} {value:.8g}" for name, value in result[side]["found"].items())
        took, used = (result[side][name] for name in ("seconds", "processor_seconds"))
        peak, before = (result[side][name] / 1e9 for name in ("peak_bytes", "before_bytes"))
        print(
            f"  {side:9} {took:7.2f} s ({used:.2f} s of processors), {peak:.2f} GB of which {before:.2f} at the start"
        )
        print(f"            {numbers}")
    if all("seconds" in result[side] for side in runs):
        result["ratio"] = result["baseline"]["seconds"] / result["ours"]["seconds"]
        print(f"  {result['ratio']:.1f} times as fast; the goal is {goal:g}")
    return result


def _processor() -> str:
    names = [line.split(":")[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return names[0].strip() if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all where none is named")
    parser.add_argument("--torch-fidelity", type=Path, metavar="FOLDER")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        return run_part(options.part, options.folder, options.torch_fidelity)
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"unknown cases {sorted(unknown)}, expected {', '.join(CASES)}")
    options.cases = options.cases or list(CASES)

    import scipy
    import torch

    facts = {
        "device": _processor(),
        "cores": os.cpu_count(),
        "versions": {"torch": torch.__version__, "numpy": np.__version__, "scipy": scipy.__version__},
        "python": platform.python_version(),
        "repeats": options.repeats,
        "command": "python -m benchmarks.evaluation " + " ".join(options.cases),
    }
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    results = []
    for kind in options.cases:
        for case in CASES[kind]:
            with tempfile.TemporaryDirectory() as folder:
                results.append({"kind": kind, **run_case(kind, *case, options, Path(folder))})
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        before = json.loads(options.json.read_text())["results"] if options.json.exists() else []
        results = [r for r in before if r["kind"] not in options.cases] + results
        results.sort(key=lambda result: list(CASES).index(result["kind"]))
        options.json.write_text(json.dumps({**facts, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
