"""Sampling and evaluation by one worker of one thread, and by two.

    python benchmarks/fan_out.py [sampling | evaluation | overhead] [--workers 2] [--rounds 3] [--json FILE]

The stages themselves run on a diffusion model of a size at which its network's arithmetic is the cost (its weights do
not matter). One worker is the step's own process; several are Ray actors. Three times are given: of the items, with
the workers up; of the whole step with the workers up; and of the whole step whose workers have to start, as in a run.
What the second has over the first is the step's own: opening, merging, writing and drawing pictures. The
processor time says what the step would take with the cores to itself, where other work disturbs the clock: of its
busiest process, or of all of them over the number of workers, whichever is more. `overhead` is the time per item of
items that cost nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import ray
import torch

from benchmarks.training import device_name
from genpipe.artifacts import publish
from genpipe.dataspec import DataSpec
from genpipe.parallel import FanOut, InThisProcess, WorkerResources
from genpipe.parallel.actors import OnActors
from genpipe.persistence import save_model
from genpipe.registry import registry
from genpipe.steps import ProgressFile, StepContext
from genpipe.training.loop import build_model
from genpipe.validation import restore_config

MODEL = {"channels": 64, "channel_multipliers": (1, 2), "num_bound_evaluations": 12}
STAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "sampling": ("sample", {"num": 512, "batch_size": 16, "sampler": {"num_steps": 10}}),
    "evaluation": ("evaluate", {"num": 256, "batch_size": 16, "metrics": ["likelihood", "frechet", "novelty"]}),
}


@dataclass
class Timed:
    """A FanOut that adds up the time in which items are worked on."""

    inner: FanOut
    seconds: float = 0.0
    num_workers: int = field(init=False)

    def __post_init__(self) -> None:
        self.num_workers = self.inner.num_workers

    def map(self, task: str, shared: Any, items: Any) -> Iterator[tuple[int, Any]]:
        begun = time.perf_counter()
        for answer in self.inner.map(task, shared, items):
            self.seconds += time.perf_counter() - begun
            yield answer
            begun = time.perf_counter()
        self.seconds += time.perf_counter() - begun


def run_stage(folder: Path, name: str, options: dict[str, Any], inputs: dict[str, Path], fan_out: FanOut) -> Path:
    """The artifact of one step, in a new folder."""
    stage = registry().get("stage", name)
    place = Path(tempfile.mkdtemp(dir=folder))
    out = place / "staged"
    out.mkdir()
    context = StepContext(
        step=name,
        stage=name,
        config=restore_config(stage.config_class, options, registry()),
        seed=0,
        inputs=inputs,
        out=out,
        scratch=place / "scratch",
        registry=registry(),
        progress=ProgressFile(None),
        fan_out=fan_out,
    )
    stage.builder(context)
    facts = {"kind": stage.gives, "stage": name, "step": name, "config": context.config.model_dump(mode="json")}
    facts |= {"seed": 0, "created": 0.0, "seconds": 0.0, "environment": {}, "summary": {}}
    publish(out, place / "artifact", facts)
    return place / "artifact"


def artifacts(folder: Path) -> dict[str, Path]:
    """Digits, an untrained model of them, and fewer samples than are scored."""
    data = run_stage(folder, "data", {"dataset": "digits"}, {}, InThisProcess())
    family = registry().get("family", "diffusion")
    model = build_model(family, family.config_class(**MODEL), DataSpec.read(data / "spec.json"), seed=0)
    (folder / "model").mkdir()
    save_model(model, folder / "model")
    inputs = {"data": data, "model": folder / "model"}
    samples = run_stage(
        folder, "sample", {"num": 256, "batch_size": 64, "sampler": {"num_steps": 1}}, inputs, InThisProcess()
    )
    features = run_stage(folder, "features", {}, {"data": data}, InThisProcess())
    return {**inputs, "features": features, "samples": samples}


def worker_seconds(log: Path) -> dict[int, float]:
    """Processor time of each process that writes to the workers' log, by its number."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.path.realpath(file) == str(log) for file in (entry / "fd").iterdir()):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                found[int(entry.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    found.pop(os.getpid(), None)
    return found


def measure(kind: str, num_workers: int, rounds: int, folder: Path, inputs: dict[str, Path]) -> dict[str, Any]:
    stage, options = STAGES[kind]
    if num_workers == 1:
        working: Any = contextlib.nullcontext(InThisProcess())
    else:
        working = contextlib.closing(OnActors(num_workers, WorkerResources(cpus=1), folder / "workers.log"))
    items, whole, processor = [], [], []
    log = folder / "workers.log"
    with working as fan_out:
        for _ in range(rounds + 1):
            before, own = worker_seconds(log), time.process_time()
            timed, begun = Timed(fan_out), time.perf_counter()
            run_stage(folder, stage, options, inputs if kind == "evaluation" else {"model": inputs["model"]}, timed)
            whole.append(time.perf_counter() - begun)
            items.append(timed.seconds)
            own = time.process_time() - own
            of_workers = sorted(used - before[pid] for pid, used in worker_seconds(log).items() if pid in before)
            # what it would take with the cores to itself: neither its busiest process nor all of them can do in less
            least = max(own, *of_workers, (own + sum(of_workers)) / num_workers) if of_workers else own
            processor.append({"step": own, "workers": of_workers, "least": least})
    return {
        "kind": kind,
        "workers": num_workers,
        "items_seconds": statistics.median(items[1:] or items),
        "step_seconds": statistics.median(whole[1:] or whole),
        "step_with_start_seconds": whole[0],
        "processor_least_seconds": statistics.median(each["least"] for each in processor[1:]),
        "all_processor_seconds": processor,
        "all_items_seconds": items,
        "all_step_seconds": whole,
    }


def nothing(shared: None) -> Any:
    """The task of items that cost nothing."""
    return lambda item: item


def overhead(num_workers: int, folder: Path, num_items: int = 2000) -> float:
    """Seconds per item that the sharing itself takes."""
    with contextlib.closing(OnActors(num_workers, WorkerResources(cpus=1), folder / "workers.log")) as fan_out:
        shared = None
        for num in (100, num_items):
            begun = time.perf_counter()
            assert len(list(fan_out.map("benchmarks.fan_out:nothing", shared, range(num)))) == num
        return (time.perf_counter() - begun) / num_items


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = [*STAGES, "overhead"]
    parser.add_argument("kinds", nargs="*", default=kinds, help=f"of {', '.join(kinds)}")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures here; those of other kinds in it are kept")
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["PYTHONPATH"] = os.pathsep.join(p for p in (os.environ.get("PYTHONPATH"), os.getcwd()) if p)
    ray.init("local", num_cpus=args.workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    environment = {
        "device": device_name("cpu"),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "ray": ray.__version__,
        "python": platform.python_version(),
        "rounds": args.rounds,
        "command": "python " + " ".join(["benchmarks/fan_out.py", *sys.argv[1:]]),
    }
    print(", ".join(f"{key} {value}" for key, value in environment.items()))
    results = json.loads(args.json.read_text())["results"] if args.json and args.json.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        inputs = artifacts(Path(folder))
        for kind in args.kinds:
            if kind == "overhead":
                seconds = overhead(args.workers, Path(folder))
                print(f"overhead: {1e3 * seconds:.2f} ms per item, {1 / seconds:.0f} items/s, {args.workers} workers")
                results[kind] = {**environment, "seconds_per_item": seconds, "workers": args.workers}
                continue
            one, several = (measure(kind, n, args.rounds, Path(folder), inputs) for n in (1, args.workers))
            print(f"{kind}: {'':26}1 worker  {args.workers} workers   speed-up")
            for key, text in (
                ("items_seconds", "items, workers up"),
                ("step_seconds", "whole step, workers up"),
                ("step_with_start_seconds", "whole step, workers start"),
                ("processor_least_seconds", "by processor time, workers up"),
            ):
                ratio = one[key] / several[key]
                print(f"  {text:32} {one[key]:8.2f} s {several[key]:8.2f} s   {ratio:6.2f} ×", flush=True)
            results[kind] = {**environment, "one": one, "several": several}
    if args.json:
        args.json.write_text(json.dumps({"results": results}, indent=1))
    ray.shutdown()


if __name__ == "__main__":
    main()
