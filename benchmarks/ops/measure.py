"""Timing side by side, torch.compile's sides, and peak memory."""

from __future__ import annotations

import ctypes
import statistics
import sys
import time
from functools import cache, partial
from pathlib import Path

import torch

from benchmarks.ops.case import Call, Case, Result


def synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def medians(sides: dict[str, Call], device: str, seconds: float, repeats: int = 7) -> dict[str, float]:
    """Each side's median time in seconds: warmed up, in turns, at least `repeats` times each."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        for _ in range(min(3, repeats - 1)):
            side()
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or min(map(len, times.values())) < repeats:
        for name, side in sides.items():
            begun = time.perf_counter()
            for _ in range(5):
                synchronize(device)
                start = time.perf_counter()
                side()
                synchronize(device)
                times[name].append(time.perf_counter() - start)
                if start - begun > 0.2:  # a slow side has its turn, not five
                    break
    return {name: statistics.median(values) for name, values in times.items()}


def compiled_sides(case: Case) -> dict[str, Call]:
    """torch.compile with its own random numbers, and with eager's, where it manages the case."""
    if case.compiled is False:
        return {}
    sides: dict[str, Call] = {}
    for name, options in (("compiled", {}), ("compiled_fallback_random", {"fallback_random": True})):
        compile = partial(torch.compile, options=options)
        try:
            side = case.compiled(compile) if callable(case.compiled) else compile(case.eager)
            side()
            sides[name] = side
        except Exception as error:  # a rival that fails is a finding, not an error of ours
            print(f"torch.compile failed on {case.name!r}: {type(error).__name__}: {error}", file=sys.stderr)
    return sides


def peak_bytes(call: Call, device: str) -> int:
    """The most that one warm call holds above what was there before, in bytes of tensors."""
    call()
    synchronize(device)
    if device != "cpu":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


@cache
def copy_gb_per_second(device: str) -> float:
    """What the device reads and writes in a copy of 512 MiB, in 1e9 bytes a second."""
    source = torch.empty(2**27, device=device)
    target = torch.empty_like(source)
    seconds = medians({"copy": lambda: target.copy_(source)}, device, 0.5)["copy"]
    return 2 * source.nbytes / seconds / 1e9


def resident_peak(call: Call) -> int:
    """The most memory that a call takes above what the process held before, in bytes, libraries' own included."""
    ctypes.CDLL(None).malloc_trim(0)  # what earlier calls have left is not held for this one
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins here
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def run(case: Case, device: str, seconds: float, with_compile: bool) -> Result:
    sides = {"ours": case.ours, "eager": case.eager, **case.rivals}
    if with_compile:
        sides |= compiled_sides(case)
    goals = {side: goal for side, goal in case.goals.items() if with_compile or side != "compiled"}
    measured = medians(sides, device, seconds, case.repeats)
    if case.moved_bytes is not None and device != "cpu":
        measured["copy of its bytes"] = case.moved_bytes / copy_gb_per_second(device) / 1e9
        goals["copy of its bytes"] = 0.85
    peaks = {}
    if case.memory_goal is not None:
        peaks = {name: peak_bytes(sides[name], device) for name in ("ours", "eager")}
    if case.memory_limit is not None:
        peaks = {
            name: resident_peak(sides[name]) if device == "cpu" else peak_bytes(sides[name], device)
            for name in ("ours", "eager")
        }
    return Result(case.name, measured, peaks, goals, case.memory_goal, case.memory_limit, case.numbers)
