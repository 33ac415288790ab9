"""Unit costs of a run, and a run of 1,000 shards: what docs/scale.md rests on.

    python -m benchmarks.scale [costs] [ray] [run] [--json FILE]

costs: in this process alone. ray: tasks, actors, objects. run: the data stage over 1,000 files, then metrics over 1,000
shards of a row. Each section replaces its own in the JSON file, with the device, the versions and the load. Medians of
repeats after one to warm up; `costs` wants an idle machine. Where both `costs` and `ray` are there, what they come to at
10, 1,000 and 10,000 workers is computed and printed too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

SECTIONS = ("costs", "ray", "run")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="all of them where none is named")
    parser.add_argument("--json", type=Path, help="a file that the sections' numbers are put into")
    arguments = parser.parse_args()
    record: dict[str, Any] = {}
    if arguments.json is not None and arguments.json.exists():
        record = json.loads(arguments.json.read_text())
    for name in arguments.sections or SECTIONS:
        load = os.getloadavg()[0]
        numbers = measure(name)
        about = {
            "command": f"python -m benchmarks.scale {name}",
            "machine": f"{os.cpu_count()} CPUs, {platform.machine()}, {_memory_gib()} GiB",
            "python": platform.python_version(),
            "versions": {package: version(package) for package in ("genpipe", "torch", "numpy", "ray", "pyarrow")},
            "load_before": round(load, 2),
            "date": time.strftime("%Y-%m-%d"),
        }
        record[name] = {"about": about, "numbers": numbers}
        print(f"== {name}   (load {load:.1f} before)")
        for key, value in numbers.items():
            print(f"{key:<52} {value:>14.4g}" if isinstance(value, float | int) else f"{key:<52} {value}")
    if {"costs", "ray"} <= set(record):
        from benchmarks.scale.bounds import bounds, show

        rows = bounds(record["costs"]["numbers"], record["ray"]["numbers"])
        record["bounds"] = {name: list(values) for name, *values in rows}
        print(f"== what they come to, by arithmetic\n{show(rows)}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


def measure(section: str) -> dict[str, Any]:
    if section == "costs":
        from benchmarks.scale.costs import unit_costs

        return unit_costs()
    if section == "ray":
        from benchmarks.scale.on_ray import ray_costs

        return ray_costs()
    from benchmarks.scale.run import thousand_shards

    return thousand_shards()


def _memory_gib() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30


if __name__ == "__main__":
    main()
