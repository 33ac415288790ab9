"""How long commands take that do no work: help, a plan, a run whose steps are all reused; bare Python beside them.

    python benchmarks/startup.py [--repeats 9] [--json FILE]

Commands take turns, one warm-up each is left out, the medians are printed. The recipe is digits-mixture, run once
first in a workspace of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

GENPIPE = [sys.executable, "-m", "genpipe"]
RECIPE = "digits-mixture"
CASES: dict[str, tuple[list[str], float | None]] = {
    "python -c pass": ([sys.executable, "-c", "pass"], None),
    "python -c 'import click'": ([sys.executable, "-c", "import click"], None),
    "genpipe --help": ([*GENPIPE, "--help"], 0.15),
    f"genpipe plan {RECIPE}": ([*GENPIPE, "plan", RECIPE], 0.6),
    f"genpipe run {RECIPE} (all reused)": ([*GENPIPE, "run", RECIPE], 1.0),
}


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as workspace:
        os.environ["GENPIPE_HOME"] = workspace
        subprocess.run([*GENPIPE, "run", RECIPE], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        taken: dict[str, list[float]] = {name: [] for name in CASES}
        for repeat in range(arguments.repeats + 1):
            for name, (command, _) in CASES.items():
                elapsed = seconds(command)
                if repeat > 0:
                    taken[name].append(elapsed)
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    print(f"{machine}; median of {arguments.repeats}, load {os.getloadavg()[0]:.2f}")
    results = {}
    for name, (_, goal) in CASES.items():
        median = statistics.median(taken[name])
        results[name] = {"seconds": median, "min": min(taken[name]), "max": max(taken[name]), "goal": goal}
        verdict = "" if goal is None else f"  goal {goal:g} s: {'met' if median <= goal else 'MISSED'}"
        print(f"{name:<44} {median:6.3f} s  ({min(taken[name]):.3f} to {max(taken[name]):.3f}){verdict}")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"machine": machine, "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
