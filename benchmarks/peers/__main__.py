"""Families beside the packages that people train the same models with: training steps and samples in a second.

    python -m benchmarks.peers [vae] [flow] [diffusion] --packages FOLDER [--threads 2] [--rounds 5] [--json FILE]

Both sides have the same network, batch and data, run in one process and take turns round by round, the first of which
warms up and is not counted; medians are compared, of the wall clock and of the processor's time, which a busy machine
disturbs less. What a side prints is dropped. --packages: a folder with peers that
are not installed, as `pip install --no-deps --target FOLDER pythae imageio` makes it; they come after what is.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import io
import json
import logging
import os
import pkgutil
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.ops.__main__ import processor
from benchmarks.peers.case import Case, Result

MACHINERY = ("case", "data", "__main__")
FAMILIES = sorted(m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)]) if m.name not in MACHINERY)


@contextmanager
def silence() -> Iterator[None]:
    logging.disable(logging.INFO)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def measure(case: Case, rounds: int) -> Result:
    """Times a case; the side that begins changes with the round."""
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    processor_seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    numbers: dict[str, dict[str, float]] = {}
    sides = [("ours", case.ours), ("theirs", case.theirs)]
    for turn in range(rounds + 1):
        for side, prepare in sides[:: 1 if turn % 2 else -1]:
            with silence():
                work = prepare()
                begun, begun_processor = time.perf_counter(), time.process_time()
                found = work()
                taken, taken_processor = time.perf_counter() - begun, time.process_time() - begun_processor
            numbers[side] = dict(found or {})
            if turn > 0:
                seconds[side].append(taken)
                processor_seconds[side].append(taken_processor)
    return Result(
        case=case.name,
        peer=f"{case.peer} {importlib.metadata.version(case.peer)}",
        amount=case.amount,
        unit=case.unit,
        goal=case.goal,
        seconds={side: statistics.median(times) for side, times in seconds.items()},
        processor_seconds={side: statistics.median(times) for side, times in processor_seconds.items()},
        numbers=numbers,
    )


def row(result: Result) -> str:
    """case | ours | theirs | how many times as fast | numbers"""
    rates = [f"{result.rate(side):.1f} {result.unit}/s" for side in ("ours", "theirs")]
    shown = "; ".join(
        f"{name} {found[name]:g} and {result.numbers['theirs'][name]:g}"
        for found in (result.numbers["ours"],)
        for name in found
        if name in result.numbers["theirs"]
    )
    ratio = f"{result.ratio:.2f} (goal {result.goal:g}; of processor time {result.processor_ratio:.2f})"
    return f"| {result.case} | {rates[0]} | {result.peer}: {rates[1]} | {ratio} | {shown} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"of {', '.join(FAMILIES)}; all without any")
    parser.add_argument("--packages", type=Path, help="folder with peers that are not installed")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of both sides")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    arguments = parser.parse_args()
    if unknown := set(arguments.families) - set(FAMILIES):
        parser.error(f"there is no '{min(unknown)}', only {', '.join(FAMILIES)}")
    if arguments.packages is not None:
        sys.path.append(str(arguments.packages.resolve()))
    torch.set_num_threads(arguments.threads)
    facts = {
        "device": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "rounds": arguments.rounds,
        "load": os.getloadavg()[0],
        "command": " ".join(["python -m benchmarks.peers", *arguments.families]),
    }
    print("\n".join(f"{key}: {value}" for key, value in facts.items()))
    print("\n| case | genpipe | peer | times as fast | numbers of both |\n| --- | --- | --- | --- | --- |", flush=True)
    results = []
    for family in arguments.families or FAMILIES:
        try:
            cases: list[Case] = importlib.import_module(f"benchmarks.peers.{family}").cases()
        except ModuleNotFoundError as error:
            sys.exit(f"{family}: there is no package '{error.name}'; install it, or name its folder by --packages")
        for case in cases:
            results.append(measure(case, arguments.rounds))
            print(row(results[-1]), flush=True)
    short = [result.case for result in results if result.falls_short]
    print("\nfalls short: " + "; ".join(short) if short else "\nevery goal is reached")
    if arguments.json:
        found = [{**asdict(result), "ratio": result.ratio} for result in results]
        arguments.json.write_text(json.dumps({**facts, "results": found, "falls_short": short}, indent=1) + "\n")


if __name__ == "__main__":
    main()
