"""Registers that the CUDA kernels spill, by ptxas's account: a spill is a trip to memory that nobody wrote.

    python core_ext/spills.py COMPILER ARGUMENT…    compiles, and keeps what ptxas says beside the object
    python core_ext/spills.py --report FOLDER       a table of the kernels that spill; exits with 1 above the budget

A build with GENPIPE_CUDA=CHECK launches its compiler through the first and ends with the second.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# Bytes per thread, stores and loads together, by part of a kernel's name; 0 where none fits. float64 is for checks, whose
# speed is nobody's.
BUDGETS = {"<double": 2048}


@dataclass(frozen=True)
class Kernel:
    name: str
    architecture: str
    registers: int
    spilled_bytes: int

    @property
    def budget(self) -> int:
        return max((n for part, n in BUDGETS.items() if part in self.name), default=0)


def compile(command: list[str]) -> int:
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if "-o" in command:
        Path(command[command.index("-o") + 1] + ".ptxas").write_text(result.stdout)
    sys.stdout.write("".join(line for line in result.stdout.splitlines(True) if not is_account(line)))
    return result.returncode


def is_account(line: str) -> bool:
    return line.startswith("ptxas info") or "bytes stack frame" in line


def kernels(log: str) -> list[Kernel]:
    found = []
    for entry in re.split(r"Compiling entry function ", log)[1:]:
        name, architecture = re.match(r"'([^']+)' for '([^']+)'", entry).groups()
        spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", entry)
        registers = re.search(r"Used (\d+) registers", entry)
        if spills and registers:
            found.append(Kernel(readable(name), architecture, int(registers[1]), int(spills[1]) + int(spills[2])))
    return found


def readable(name: str) -> str:
    if shutil.which("c++filt") is None:
        return name
    text = subprocess.run(["c++filt", name], capture_output=True, text=True, check=True).stdout.strip()
    return (
        text.replace("(anonymous namespace)::", "").replace("genpipe::cuda::", "").removeprefix("void ").split("(")[0]
    )


def report(folder: Path) -> int:
    logs = sorted(folder.rglob("*.ptxas"))
    found = [kernel for log in logs for kernel in kernels(log.read_text())]
    spilling = sorted((k for k in found if k.spilled_bytes), key=lambda k: -k.spilled_bytes)
    print(f"== {len(found)} kernels of {len(logs)} files; {len(spilling)} spill registers")
    if spilling:
        print("| spilled bytes | budget | registers | architecture | kernel |\n| --- | --- | --- | --- | --- |")
    for kernel in spilling:
        columns = (kernel.spilled_bytes, kernel.budget, kernel.registers, kernel.architecture, kernel.name)
        print("| " + " | ".join(map(str, columns)) + " |")
    return int(not found or any(kernel.spilled_bytes > kernel.budget for kernel in spilling))


if __name__ == "__main__":
    sys.exit(report(Path(sys.argv[2])) if sys.argv[1] == "--report" else compile(sys.argv[1:]))
