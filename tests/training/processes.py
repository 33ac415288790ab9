"""A group of real processes over gloo, started once for several pieces of work."""

from __future__ import annotations

import datetime
import importlib
import sys
import traceback
import uuid
from pathlib import Path
from signal import SIGKILL
from subprocess import STDOUT, Popen
from typing import Any

import torch
import torch.distributed as dist

from genpipe.training.group import TorchGroup

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 500


def in_processes(size: int, work: str, folder: Path, dies: int | None = None) -> list[Any]:
    """What `work`, a "module:function" of a group and a folder, gives in each of `size` processes of one thread.

    What it gives crosses by torch.save; what it raises ends the test with its traceback. dies: the rank of one that
    kills itself, and gives None.
    """
    name = uuid.uuid4().hex
    outputs = [folder / f"{name}-{rank}.txt" for rank in range(size)]
    command = [sys.executable, "-m", "tests.training.processes", work, str(folder), name, str(size)]
    children = []
    for rank, output in enumerate(outputs):
        with output.open("w") as file:
            children.append(Popen([*command, str(rank)], stdout=file, stderr=STDOUT, cwd=ROOT))
    try:
        codes = [child.wait(TIMEOUT_SECONDS) for child in children]
    finally:
        for child in children:
            child.kill()
    expected = [-SIGKILL if rank == dies else 0 for rank in range(size)]
    assert codes == expected, "\n".join(output.read_text() for output in outputs)
    files = [folder / f"{name}-{rank}.pt" for rank in range(size)]
    return [torch.load(file, weights_only=False) if rank != dies else None for rank, file in enumerate(files)]


def main() -> None:
    work, folder, name, size, rank = sys.argv[1:]
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        f"file://{folder}/{name}-store",
        rank=int(rank),
        world_size=int(size),
        timeout=datetime.timedelta(seconds=TIMEOUT_SECONDS / 2),
    )
    module, _, function = work.partition(":")
    try:
        given = getattr(importlib.import_module(module), function)(TorchGroup(), Path(folder))
    except Exception:
        traceback.print_exc()
        sys.stdout.flush()
        raise SystemExit(1) from None  # and the other one, which waits, is told
    torch.save(given, f"{folder}/{name}-{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
