"""Steps per second of the shared training loop beside a bare PyTorch loop over the same model, loss and data.

    python benchmarks/training.py [--device cpu] [--threads 1] [--steps 200] [--rounds 7] [--json FILE]

Both sides draw the same examples and noise, clip, step the same fused optimiser and average weights. The two run in
turns, so that a change of the machine's load meets both; medians over the rounds are compared, of the wall clock and
of the processor's time, which a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import genpipe.registry
from genpipe.data import Order, RawData, Split
from genpipe.dataspec import DataSpec
from genpipe.model import Model
from genpipe.noise import Noise
from genpipe.steps import ProgressFile
from genpipe.training.config import TrainConfig
from genpipe.training.loop import build_model, train
from genpipe.training.optimizers import learning_rate

Case = tuple[str, dict[str, Any], str, int, int]

CASES: list[Case] = [  # family, options, data set, batch size, how many times --steps
    ("vae", {}, "digits", 64, 1),
    ("vae", {"hidden": 64}, "gaussians_2d", 256, 10),
    ("diffusion", {}, "digits", 64, 1),
    ("diffusion", {"hidden": 64}, "gaussians_2d", 256, 10),
]


def load(name: str) -> Split:
    record = genpipe.registry.registry().get("dataset", name)
    raw: RawData = record.builder(record.config_class(), 0)
    spec = raw.spec
    if spec.event == "vector":
        flat = raw.x.reshape(len(raw.x), -1).astype("float64")
        fields = {**vars(spec), "mean": tuple(flat.mean(0).tolist()), "std": tuple(flat.std(0).tolist())}
        spec = DataSpec(**fields)
    return Split(spec, "train", raw.x, raw.y)


def bare_loop(model: Model, split: Split, config: TrainConfig, device: torch.device) -> None:
    """The same useful work, written out."""
    model.to(device).train()
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        parameters, lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay, fused=True
    )
    average = [p.detach().clone() for p in parameters]
    x, order, size = torch.from_numpy(split.x).to(device), Order(len(split), 0), config.batch_size
    for step in range(config.steps):
        indices = torch.from_numpy(order.indices(step * size, size)).to(device)
        noise = Noise(0, "train", step * size)
        loss = model.loss(model.units.to_network(x[indices], noise), None, noise)["loss"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, config.clip_norm, foreach=True)
        optimizer.param_groups[0]["lr"] = learning_rate(config, step)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 1 - min(config.ema_decay, (1 + step) / (10 + step)))
    loss.item()  # waits for the device


def our_loop(model: Model, split: Split, config: TrainConfig, device: torch.device) -> None:
    with tempfile.TemporaryDirectory() as folder:
        progress = ProgressFile(Path(folder) / "progress.jsonl")
        train(model, split, config, seed=0, device=device, scratch=Path(folder), progress=progress)
        progress.close()


def measure(case: Case, args: argparse.Namespace) -> dict[str, Any]:
    family_name, options, dataset, batch_size, times = case
    family = genpipe.registry.registry().get("family", family_name)
    split, device = load(dataset), torch.device(args.device)
    config = TrainConfig(steps=times * args.steps, batch_size=batch_size)
    wall: dict[str, list[float]] = {"bare": [], "ours": []}
    processor: dict[str, list[float]] = {"bare": [], "ours": []}
    for turn in range(args.rounds + 1):
        for side, loop in (("bare", bare_loop), ("ours", our_loop))[:: 1 if turn % 2 else -1]:
            model = build_model(family, family.config_class(**options), split.spec, seed=0)
            begun, begun_processor = time.perf_counter(), time.process_time()
            loop(model, split, config, device)
            if turn > 0:  # the first round warms up
                wall[side].append(time.perf_counter() - begun)
                processor[side].append(time.process_time() - begun_processor)
    median = {side: statistics.median(times) for side, times in wall.items()}
    return {
        "case": f"{family_name} on {dataset}, batches of {batch_size}",
        "bare_steps_per_second": config.steps / median["bare"],
        "genpipe_steps_per_second": config.steps / median["ours"],
        "share": median["bare"] / median["ours"],
        "share_of_processor_time": statistics.median(processor["bare"]) / statistics.median(processor["ours"]),
        "wall_seconds": wall,
        "processor_seconds": processor,
    }


def device_name(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    environment = {
        "device": device_name(args.device),
        "threads": args.threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "steps": args.steps,
        "rounds": args.rounds,
        "command": "python " + " ".join(["benchmarks/training.py", *sys.argv[1:]]),
    }
    print(", ".join(f"{key} {value}" for key, value in environment.items()))
    print(f"{'':42} {'bare':>10} {'genpipe':>10}   share (of processor time)")
    rows = []
    for case in CASES:
        row = measure(case, args)
        rows.append(row)
        print(
            f"{row['case']:42} {row['bare_steps_per_second']:8.1f}/s {row['genpipe_steps_per_second']:8.1f}/s"
            f"   {row['share']:6.1%} ({row['share_of_processor_time']:.1%})",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps({**environment, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
