"""The compiled ops beside torch eager, torch.compile and others, in one process.

    python -m benchmarks.ops [WORD …] [--device cuda] [--threads 2] [--json FILE] [--no-compile]

Runs the cases whose names hold one of the words, all without any. Prints the medians in microseconds (nanoseconds per
number for the generators), how many times faster ours is than each side, and at the end what falls short of its goal.
Each side is warmed up; they take turns round by round, so that a busy machine slows them alike. On the CPU the
script starts itself again with malloc's thresholds fixed: where the allocator gives its pages back after every call,
page faults cost more than any of what is measured, on all sides. torch.compile is shown with its own random numbers
and with fallback_random, which is how it reproduces eager's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path

MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**33)}

if __name__ == "__main__" and any(os.environ.get(name) != value for name, value in MALLOC.items()):
    command = [sys.executable, "-m", "benchmarks.ops", *sys.argv[1:]]
    os.execve(sys.executable, command, {**os.environ, **MALLOC})

import importlib
import pkgutil

import torch

from benchmarks.ops import case, measure
from genpipe._build import build_info

MACHINERY = (case.__name__, measure.__name__, __name__)


def all_cases(device: str) -> list[case.Case]:
    found: list[case.Case] = []
    for module in pkgutil.iter_modules([str(Path(__file__).parent)], "benchmarks.ops."):
        if module.name not in (*MACHINERY, "benchmarks.ops.__main__"):
            found += importlib.import_module(module.name).cases(device)
    return found


def row(result: case.Result) -> str:
    """name | unit | ours | side: time (ratio) …"""
    digits = 2 if result.numbers else 0
    cells = [f"{result.shown('ours'):.{digits}f}"]
    for side in result.seconds:
        if side == "ours":
            continue
        cells.append(f"{side} {result.shown(side):.{digits}f} ({result.ratio(side):.2f}×)")
    if result.peak_bytes:
        cells.append("peak MiB " + ", ".join(f"{name} {n / 2**20:.1f}" for name, n in result.peak_bytes.items()))
    return f"| {result.case} | {result.unit} | {cells[0]} | " + ", ".join(cells[1:]) + " |"


def processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ops", description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", metavar="WORD", help="run the cases whose names hold one of these")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads; torch's own choice where not given")
    parser.add_argument("--seconds", type=float, default=3.0, help="measuring time of each case")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--json", metavar="FILE", help="also write the results here")
    arguments = parser.parse_args()
    device = arguments.device
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    info = build_info()
    facts = {
        "device": torch.cuda.get_device_name(device) if device != "cpu" else processor(),
        "threads": torch.get_num_threads(),
        "cpu_variant": info.cpu_variant,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "genpipe": info.version,
        "load": os.getloadavg()[0],
        "command": " ".join(["python -m benchmarks.ops", *sys.argv[1:]]),
    }
    if device != "cpu":
        facts["copy_gb_per_second"] = measure.copy_gb_per_second(device)
    print("\n".join(f"{key}: {value}" for key, value in facts.items()))
    print("\n| case | unit | ours | beside it (times that ours is faster) |\n| --- | --- | --- | --- |", flush=True)
    words = [word.lower() for word in arguments.words]
    results = []
    for one in all_cases(device):
        if words and not any(word in one.name.lower() for word in words):
            continue
        torch._dynamo.reset()
        results.append(measure.run(one, device, arguments.seconds, with_compile=not arguments.no_compile))
        print(row(results[-1]), flush=True)
    shortfalls = [text for result in results for text in result.shortfalls()]
    print("\nfalls short:\n  " + "\n  ".join(shortfalls) if shortfalls else "\nevery goal is reached")
    if arguments.json:
        written = {**facts, "results": [asdict(result) for result in results], "shortfalls": shortfalls}
        Path(arguments.json).write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
