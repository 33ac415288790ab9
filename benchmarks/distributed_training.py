"""Steps per second of two workers beside one, and beside DistributedDataParallel over the same model, loss and data.

    python benchmarks/distributed_training.py [--steps 40] [--rounds 5] [--json FILE]
    python benchmarks/distributed_training.py --memory [--json FILE]

Starts itself under torchrun: two processes of one thread each, gloo. In turns, so that a change of the machine's load
meets all: one worker alone (the other one sleeps), the shared loop with two workers, and a bare loop with
DistributedDataParallel; each with the same global batch, examples, noise, clipping, fused optimiser and averaging.
Timed from the third step to the last, without starts and checkpoints; medians over the rounds after a first one, of the
wall clock and of rank 0's processor time, which a busy machine disturbs less.

--memory: the resident memory that a training adds to a worker, with whole weights and with parts (train.parallel), for
one worker, two and four; the most of it during steps, and with the last checkpoint, which rank 0 puts together.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
WARM_STEPS = 2

CASES: list[tuple[str, dict[str, Any], str, int]] = [  # family, options, data set, batch size
    ("diffusion", {}, "digits", 128),  # small enough for the exchange to show
    ("diffusion", {}, "digits", 512),
    ("vae", {"channels": 64, "hidden": 512}, "digits", 512),
]


Moment = tuple[float, float]  # wall clock and processor time, in seconds


def now() -> Moment:
    return time.perf_counter(), time.process_time()


def launch(size: int, arguments: list[str]) -> None:
    """Runs this file in `size` processes by torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}", __file__]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MALLOC_MMAP_THRESHOLD_": str(1 << 20),  # what is freed goes back, so that resident memory tells what is in use
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }
    done = subprocess.run([*command, *arguments], env=environment)
    if done.returncode:
        raise SystemExit(done.returncode)


def measure(case: tuple[str, dict[str, Any], str, int], steps: int, rounds: int, rank: int) -> dict[str, Any]:
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    import genpipe.registry
    from benchmarks.training import load
    from genpipe.data import Order
    from genpipe.noise import Noise
    from genpipe.steps import ProgressFile
    from genpipe.training.config import TrainConfig
    from genpipe.training.group import Group, TorchGroup
    from genpipe.training.loop import build_model, train
    from genpipe.training.optimizers import learning_rate

    family_name, options, dataset, batch_size = case
    family = genpipe.registry.registry().get("family", family_name)
    split = load(dataset)
    config = TrainConfig(steps=steps, batch_size=batch_size)

    class Clock(ProgressFile):
        def __init__(self) -> None:
            super().__init__(None)
            self.times: list[Moment] = []

        def __call__(self, at: int, total: int | None = None, *, keep: bool = False, **numbers: float) -> None:
            self.times.append(now())

    def ours(group: Group) -> list[Moment]:
        model, clock = build_model(family, family.config_class(**options), split.spec, seed=0), Clock()
        with tempfile.TemporaryDirectory() as folder:
            train(model, split, config, seed=0, device="cpu", scratch=Path(folder), progress=clock, group=group)
        return clock.times

    def alone() -> list[Moment]:
        return ours(Group()) if rank == 0 else []

    def ddp() -> list[Moment]:
        model = build_model(family, family.config_class(**options), split.spec, seed=0)

        class Loss(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, z: torch.Tensor, noise: Noise) -> torch.Tensor:
                return model.loss(z, None, noise)["loss"]

        parallel, parameters = DistributedDataParallel(Loss()), list(model.parameters())
        optimizer = torch.optim.AdamW(
            parameters, lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay, fused=True
        )
        average = [p.detach().clone() for p in parameters]
        order, x, share, times = Order(len(split), 0), torch.from_numpy(split.x), batch_size // 2, []
        model.train()
        for step in range(config.steps):
            first = step * batch_size + rank * share
            noise = Noise(0, "train", first)
            z = model.units.to_network(x[torch.from_numpy(order.indices(first, share))], noise)
            loss = parallel(z, noise)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, config.clip_norm, foreach=True)
            optimizer.param_groups[0]["lr"] = learning_rate(config, step)
            optimizer.step()
            with torch.no_grad():
                torch._foreach_lerp_(average, parameters, 1 - min(config.ema_decay, (1 + step) / (10 + step)))
            times.append(now())
        return times

    sides: dict[str, Callable[[], list[Moment]]] = {"one": alone, "two": lambda: ours(TorchGroup()), "ddp": ddp}
    rates: dict[str, list[float]] = {side: [] for side in sides}
    processor_rates: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(rounds + 1):
        for side in list(sides)[:: 1 if turn % 2 else -1]:
            dist.barrier()
            times = sides[side]()
            if rank == 0 and turn > 0:
                wall, processor = (end - start for start, end in zip(times[WARM_STEPS], times[-1], strict=True))
                rates[side].append((len(times) - 1 - WARM_STEPS) / wall)
                processor_rates[side].append((len(times) - 1 - WARM_STEPS) / processor)
    if rank != 0:
        return {}
    median = {side: statistics.median(values) for side, values in rates.items()}
    processor_median = {side: statistics.median(values) for side, values in processor_rates.items()}
    return {
        "case": f"{family_name} on {dataset}, batches of {batch_size}",
        "one_worker_steps_per_second": median["one"],
        "two_workers_steps_per_second": median["two"],
        "ddp_steps_per_second": median["ddp"],
        "speedup": median["two"] / median["one"],
        "share_of_ddp": median["two"] / median["ddp"],
        "speedup_by_processor_time": processor_median["two"] / processor_median["one"],
        "share_of_ddp_by_processor_time": processor_median["two"] / processor_median["ddp"],
        "rates": rates,
        "processor_rates": processor_rates,
    }


MEMORY_MODEL = {"hidden": 1024, "num_blocks": 12}
MEMORY_SIDES = [(1, "replicate"), (2, "replicate"), (2, "shard"), (4, "replicate"), (4, "shard")]


def resident_bytes(which: str) -> int:
    """VmRSS, or VmHWM, the most that was resident since it was last forgotten."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(which))
    return int(line.split()[1]) * 1024


def measure_memory(parallel: str, steps: int) -> dict[str, Any]:
    """Of rank 0, which has the checkpoints besides."""
    import torch.distributed as dist

    import genpipe.registry
    from benchmarks.training import load
    from genpipe.steps import ProgressFile
    from genpipe.training.config import TrainConfig
    from genpipe.training.group import TorchGroup
    from genpipe.training.loop import build_model, train

    family, split = genpipe.registry.registry().get("family", "diffusion"), load("moons")
    config = TrainConfig(steps=steps, batch_size=64, checkpoint_every=steps, parallel=parallel)  # type: ignore[arg-type]

    class Clock(ProgressFile):
        def __init__(self) -> None:
            super().__init__(None)
            self.times: list[float] = []
            self.during_steps = 0

        def __call__(self, at: int, total: int | None = None, *, keep: bool = False, **numbers: float) -> None:
            if at == WARM_STEPS:
                Path("/proc/self/clear_refs").write_text("5")  # forgets the most until now
            self.times.append(time.perf_counter())
            self.during_steps = resident_bytes("VmHWM")

    def go(hidden: int, clock: Clock) -> int:
        model = build_model(family, family.config_class(**{**MEMORY_MODEL, "hidden": hidden}), split.spec, seed=0)
        num = sum(p.numel() for p in model.parameters())
        with tempfile.TemporaryDirectory() as folder:
            train(model, split, config, seed=0, device="cpu", scratch=Path(folder), progress=clock, group=TorchGroup())
        return num

    go(8, Clock())  # imports, and whatever else is there once and for all
    dist.barrier()
    clock, before = Clock(), resident_bytes("VmRSS")
    num = go(MEMORY_MODEL["hidden"], clock)
    if dist.get_rank() != 0:
        return {}
    return {
        "workers": dist.get_world_size(),
        "parallel": parallel,
        "parameters": num,
        "weights_mib": num * 4 / 2**20,
        "added_during_steps_mib": (clock.during_steps - before) / 2**20,
        "added_with_checkpoint_mib": (resident_bytes("VmHWM") - before) / 2**20,
        "steps_per_second": (steps - WARM_STEPS) / (clock.times[-1] - clock.times[WARM_STEPS - 1]),
    }


def compare_memory(args: argparse.Namespace) -> None:
    """One group of processes for each side."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size, parallel in MEMORY_SIDES:
            file = Path(folder) / f"{size}-{parallel}.json"
            launch(size, ["--memory", "--parallel", parallel, "--steps", str(args.steps), "--json", str(file)])
            rows.append(row := json.loads(file.read_text()))
            print(
                f"{row['workers']} workers, {row['parallel']:10} {row['parameters'] / 1e6:.1f} M parameters of "
                f"{row['weights_mib']:.0f} MiB: {row['added_during_steps_mib']:6.0f} MiB added during steps, "
                f"{row['added_with_checkpoint_mib']:6.0f} with the checkpoint, {row['steps_per_second']:.2f} steps/s",
                flush=True,
            )
    if args.json:
        args.json.write_text(json.dumps({**environment_of(args), "rows": rows}, indent=1))


def environment_of(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    from benchmarks.training import device_name

    return {
        "device": device_name("cpu"),
        "threads_per_worker": 1,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "steps": args.steps,
        "rounds": args.rounds,
        "load": round(os.getloadavg()[0], 1),
        "command": "python " + " ".join(["benchmarks/distributed_training.py", *sys.argv[1:]]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", type=int, default=len(CASES), help="how many of the cases")
    parser.add_argument("--memory", action="store_true", help="measure memory, not speed")
    parser.add_argument("--parallel", default="replicate", help=argparse.SUPPRESS)  # of one side of --memory
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    if "RANK" not in os.environ:
        return compare_memory(args) if args.memory else launch(2, sys.argv[1:])
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.set_num_threads(1)
    if args.memory:
        row = measure_memory(args.parallel, args.steps)
        if rank == 0:
            args.json.write_text(json.dumps(row))
        dist.destroy_process_group()
        return
    environment = environment_of(args)
    if rank == 0:
        print(", ".join(f"{key} {value}" for key, value in environment.items()))
        print(f"{'':42} {'one':>10} {'two':>10} {'DDP':>10}   speedup, share of DDP (by processor time)")
    rows = []
    for case in CASES[: args.cases]:
        row = measure(case, args.steps, args.rounds, rank)
        if rank == 0:
            rows.append(row)
            print(
                f"{row['case']:42} {row['one_worker_steps_per_second']:8.2f}/s "
                f"{row['two_workers_steps_per_second']:8.2f}/s {row['ddp_steps_per_second']:8.2f}/s"
                f"   {row['speedup']:.2f} x ({row['speedup_by_processor_time']:.2f}), "
                f"{row['share_of_ddp']:.1%} ({row['share_of_ddp_by_processor_time']:.1%})",
                flush=True,
            )
    if rank == 0 and args.json:
        args.json.write_text(json.dumps({**environment, "rows": rows}, indent=1))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
