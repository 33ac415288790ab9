"""The compiled ops beside torch eager and torch.compile, in one process.

    python benchmarks/ops.py [--device cuda] [--threads 2] [--json FILE] [--no-compile]

Prints the medians in microseconds (nanoseconds per number for the generators) with the ratio to eager and its goal.
Each side is warmed up; the three take turns round by round, so that a busy machine slows them alike. On the CPU the
script starts itself again with malloc's thresholds fixed: where the allocator gives its pages back after every call,
page faults cost more than any of what is measured, on all sides. torch.compile is shown with its own random numbers
and with fallback_random, which is how it reproduces eager's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**33)}

if __name__ == "__main__" and any(os.environ.get(name) != value for name, value in MALLOC.items()):
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **MALLOC})

import torch
from torch.nn import functional as F

from genpipe import ops
from genpipe._build import build_info

Compile = Callable[[Callable[[], object]], Callable[[], object]]


@dataclass(frozen=True)
class Case:
    name: str
    ours: Callable[[], object]
    eager: Callable[[], object]
    compiled: Callable[[Compile], Callable[[], object]] | None = None  # eager, compiled whole, where None
    goal: float | None = None  # times faster than eager, on two CPU threads
    numbers: int | None = None  # random numbers made: times are per number
    out: Callable[[], object] | None = None


def q_sample_cases(shape: tuple[int, ...], device: str, goal: float | None) -> list[Case]:
    x0 = torch.randn(shape, device=device)
    t = torch.randint(0, 1000, shape[:1], device=device)
    table = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64, device=device), 0)
    table32 = table.float()
    noise, out = torch.randn_like(x0), torch.empty_like(x0)
    key = ops.key(0, "benchmark")
    view = (-1,) + (1,) * (len(shape) - 1)

    def eager(noise: torch.Tensor) -> torch.Tensor:
        level = table32[t].view(view)
        return level.sqrt() * x0 + (1 - level).sqrt() * noise

    def eager_with_noise() -> tuple[torch.Tensor, torch.Tensor]:
        noise = torch.randn_like(x0)
        return eager(noise), noise

    label = "×".join(map(str, shape))
    return [
        Case(
            f"q_sample, noise given, {label}",
            lambda: ops.q_sample(x0, t, table, noise=noise),
            lambda: eager(noise),
            out=lambda: ops.q_sample(x0, t, table, noise=noise, out=out),
        ),
        Case(
            f"q_sample, noise generated, {label}",
            lambda: ops.q_sample(x0, t, table, key=key),
            lambda: eager_with_noise()[0],
            goal=goal,
            out=lambda: ops.q_sample(x0, t, table, key=key, out=out),
        ),
        Case(
            f"q_sample, noise generated and kept, {label}",
            lambda: ops.q_sample_with_noise(x0, t, table, key),
            eager_with_noise,
        ),
    ]


def elbo_cases(device: str) -> list[Case]:
    mean, log_var = (torch.randn(512, 64, device=device).mul_(0.5).requires_grad_() for _ in range(2))
    logits = torch.randn(512, 784, device=device).requires_grad_()
    x = torch.rand(512, 784, device=device)
    grad_z = torch.randn(512, 64, device=device)
    key = ops.key(0, "benchmark")

    def ours() -> object:
        z, kl = ops.gaussian_reparam(mean, log_var, key)
        loss = (ops.bernoulli_nll(logits, x) + kl).mean()
        return torch.autograd.grad((loss, z), (mean, log_var, logits), (None, grad_z))

    def forward() -> tuple[torch.Tensor, torch.Tensor]:
        z = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)
        nll = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
        return (nll + kl).mean(), z

    def nll() -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1).mean()

    def both_ways(forward: Callable[[], object]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(forward(), (mean, log_var, logits), (None, grad_z))

    def nll_both_ways(forward: Callable[[], object]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(forward(), logits)

    return [
        Case(
            "ELBO, batch 512, latent 64, outputs 784, both ways",
            ours,
            both_ways(forward),
            compiled=lambda compile: both_ways(compile(forward)),
            goal=3.0,
        ),
        Case(
            "Bernoulli NLL, 512×784, both ways",
            lambda: torch.autograd.grad(ops.bernoulli_nll(logits, x).mean(), logits),
            nll_both_ways(nll),
            compiled=lambda compile: nll_both_ways(compile(nll)),
        ),
    ]


def random_cases(device: str) -> list[Case]:
    key, numbers = ops.key(0, "benchmark"), 2**24
    shape = (64, numbers // 64)
    return [
        Case(
            "normal, 16 M",
            lambda: ops.normal(key, shape, device=device),
            lambda: torch.randn(shape, device=device),
            numbers=numbers,
        ),
        Case(
            "uniform, 16 M",
            lambda: ops.uniform(key, shape, device=device),
            lambda: torch.rand(shape, device=device),
            numbers=numbers,
        ),
    ]


def measure(sides: dict[str, Callable[[], object]], device: str, seconds: float) -> dict[str, float]:
    """Each side's median time in seconds; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        for _ in range(3):
            side()
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or min(map(len, times.values())) < 7:
        for name, side in sides.items():
            for _ in range(5):
                synchronize(device)
                start = time.perf_counter()
                side()
                synchronize(device)
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def rivals(case: Case) -> dict[str, Callable[[], object]]:
    """torch.compile's versions of a case, where it manages one."""
    made: dict[str, Callable[[], object]] = {}
    for name, options in (("compiled", {}), ("compiled_fallback_random", {"fallback_random": True})):
        try:
            made[name] = (case.compiled or (lambda compile: compile(case.eager)))(
                partial(torch.compile, options=options)
            )
            made[name]()
        except Exception as error:  # a rival that fails is a finding, not an error of ours
            made.pop(name, None)
            print(f"torch.compile failed on {case.name!r}: {type(error).__name__}: {error}", file=sys.stderr)
    return made


def run(case: Case, device: str, seconds: float, with_compile: bool) -> dict[str, object]:
    sides = {"ours": case.ours, "eager": case.eager}
    if case.out is not None:
        sides["ours_out"] = case.out
    if with_compile:
        sides |= rivals(case)
    medians = measure(sides, device, seconds)
    scale = 1e9 / case.numbers if case.numbers else 1e6
    return {
        "case": case.name,
        "unit": "ns each" if case.numbers else "µs",
        **{name: median * scale for name, median in medians.items()},
        "ratio": medians["eager"] / medians["ours"],
        "goal": case.goal,
    }


COLUMNS = ("eager", "compiled", "compiled_fallback_random", "ours", "ours_out")


def row(result: dict[str, object]) -> str:
    def number(name: str) -> str:
        value = result.get(name)
        return "–" if value is None else f"{value:.2f}" if result["unit"] == "ns each" else f"{value:.0f}"

    goal = "" if result["goal"] is None else f"{result['goal']:.0f}"
    cells = [str(result["case"]), str(result["unit"]), *map(number, COLUMNS), f"{result['ratio']:.1f}", goal]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
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
    name = torch.cuda.get_device_name(device) if device != "cpu" else processor()
    facts = {
        "device": name,
        "threads": torch.get_num_threads(),
        "cpu_variant": info.cpu_variant,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "genpipe": info.version,
        "load": os.getloadavg()[0],
        "command": "python benchmarks/ops.py " + " ".join(sys.argv[1:]),
    }
    print("\n".join(f"{key}: {value}" for key, value in facts.items()), flush=True)
    print(
        "\n| case | unit | eager | torch.compile | the same, fallback_random | ours | ours, out= | eager / ours | goal |"
    )
    print("|" + " --- |" * 9, flush=True)
    sizes = [((128, 3, 32, 32), 4.0), ((64, 3, 128, 128), None)]
    cases = [case for shape, goal in sizes for case in q_sample_cases(shape, device, goal)]
    results = []
    for case in [*cases, *elbo_cases(device), *random_cases(device)]:
        results.append(run(case, device, arguments.seconds, with_compile=not arguments.no_compile))
        print(row(results[-1]), flush=True)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({**facts, "results": results}, file, indent=2)


def processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
