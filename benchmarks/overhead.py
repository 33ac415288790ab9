"""What a run costs beyond its stages' own work: cold, with an embedded Ray, and on a cluster that is up.

    python -m benchmarks.overhead [--repeats 3] [--json FILE]

The recipe is the tests' toy: two numbers side by side, then their sum, 3 steps that take no time. Cold: the whole command.
Warm: the same on a Ray that is up and has run it once, per step; what a command takes to start and to connect is shown
beside it. Runs without a tracker. Beside them, Ray alone: `ray.init()` and one empty task, in a fresh Python.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
GOAL_COLD_SECONDS = 12.0
GOAL_STAGE_SECONDS = 0.3
NUM_STEPS_IN_A_ROW = 2  # left and right run side by side
RAY_ALONE = """
import time
began = time.perf_counter()
import ray
imported = time.perf_counter()
ray.init("local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
up = time.perf_counter()
ray.get(ray.remote(lambda: None).remote())
print(imported - began, up - imported, time.perf_counter() - up)
"""
HEAD = """
import sys, time
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
print(cluster.address, flush=True)
time.sleep(3600)
"""


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT / "tests" / "toy_plugin"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "RAY_AUTH_MODE": "disabled"}


def command(folder: Path, value: int, *options: str) -> tuple[float, list[float]]:
    """Seconds of a whole command whose steps all have to run, and the moments of its lines, from its start."""
    recipe = folder / "toy.yaml"
    recipe.write_text("pipeline: toy\n")
    overrides = [f"left.value={value}", f"right.value={value}"]
    began = time.perf_counter()
    fixed = ["--workspace", str(folder), "--tracking", "off"]
    with subprocess.Popen(
        [sys.executable, "-m", "genpipe", "run", str(recipe), *overrides, *fixed, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stderr is not None
        moments = {line.rstrip(): time.perf_counter() - began for line in process.stderr}
    if process.returncode:
        sys.exit("\n".join(moments))
    first = next(at for line, at in moments.items() if line.endswith("started"))
    last = next(at for line, at in reversed(moments.items()) if " done in " in line)
    return time.perf_counter() - began, [first, last]


@contextmanager
def cluster() -> Iterator[str]:
    silent = {"stderr": subprocess.DEVNULL, "start_new_session": True}
    with subprocess.Popen(
        [sys.executable, "-c", HEAD], stdout=subprocess.PIPE, text=True, env=environment(), **silent
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    cold, alone, stage, warm_start, warm_end = [], [], [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for repeat in range(arguments.repeats):
            parts = subprocess.check_output([sys.executable, "-c", RAY_ALONE], text=True, stderr=subprocess.DEVNULL)
            alone.append([float(part) for part in parts.split()])
            cold.append(command(folder, repeat)[0])
        with cluster() as address:
            for repeat in range(arguments.repeats + 1):
                seconds, (first, last) = command(folder, 100 + repeat, "--address", address)
                if repeat > 0:
                    stage.append((last - first) / NUM_STEPS_IN_A_ROW)
                    warm_start.append(first)
                    warm_end.append(seconds - last)
    imported, up, task = (statistics.median(part) for part in zip(*alone, strict=True))
    results = {
        "cold run, 3 empty steps, Ray embedded": (statistics.median(cold), GOAL_COLD_SECONDS),
        "Ray alone: import": (imported, None),
        "Ray alone: ray.init()": (up, None),
        "Ray alone: first task": (task, None),
        "warm cluster: one step after the other, each": (statistics.median(stage), GOAL_STAGE_SECONDS),
        "warm cluster: to the first step (start, plan, connect)": (statistics.median(warm_start), None),
        "warm cluster: from the last step to the end": (statistics.median(warm_end), None),
    }
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    print(f"{machine}; median of {arguments.repeats}, load {os.getloadavg()[0]:.2f}")
    for what, (seconds, goal) in results.items():
        verdict = "" if goal is None else f"  goal {goal:g} s: {'met' if seconds <= goal else 'MISSED'}"
        print(f"{what:<56} {seconds:6.2f} s{verdict}")
    if arguments.json:
        rows = {what: {"seconds": seconds, "goal": goal} for what, (seconds, goal) in results.items()}
        record = {"machine": machine, "repeats": arguments.repeats, "load": os.getloadavg()[0], "results": rows}
        Path(arguments.json).write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
