"""Random SIGKILLs to every process of a small real run, at random moments of every stage; then the results, bitwise.

    python -m benchmarks.chaos [--kills 200] [--seed 0] [--workers 1] [--minutes M] [--json FILE]

The recipe is digits-diffusion, cut down: data, train, sample, evaluate, report, on an embedded Ray. One run of it is left
alone. Then it is run over and over, each round in a workspace of its own, while processes are killed: a worker, the
raylet, the GCS, the process that Ray is in, the driver. Where a command ends early it is given again, as `genpipe run` or
`genpipe resume last`. A round ends with a command that finishes. Checked on the way, and counted as violations:

- after each kill: every artifact that is there has all its checksums
- a killed driver leaves no process, after 5 seconds; nor does a round that has finished
- a command that ends early says so with an error, and no traceback
- after a round: no run is left RUNNING; data, weights, samples and tables are the bytes of the run that was left alone
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genpipe.artifacts import STAGING_PREFIX, read_manifest, verify
from genpipe.dead_runs import close_dead_runs
from genpipe.errors import ArtifactError
from genpipe.runs import all_runs
from genpipe.workspace import ENVIRONMENT_VARIABLE, Workspace

RECIPE = ["digits-diffusion", "model.channels=8", "train.steps=150", "train.batch_size=32", "train.checkpoint_every=10"]
RECIPE += ["sample.num=128", "sample.batch_size=16", "sample.sampler.num_steps=10", "evaluate.num=128"]
# Most kills of a round in each.
STAGES = {"start": 1, "data": 2, "features": 2, "train": 5, "sample": 3, "evaluate": 3, "report": 2}
VICTIMS = {"worker": 10, "driver": 4, "raylet": 2, "gcs_server": 2, "ray_host": 1}  # how often, beside each other
COMPARED = ("data", "features", "model", "samples", "evaluation")
ORPHAN_SECONDS = 5.0
COMMAND_SECONDS = 600.0
MAX_COMMANDS = 60


@dataclass
class Tally:
    """What happened. kills: (victim, stage) → how many; recoveries: how runs went on after them."""

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    recoveries: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    rounds: int = 0

    @property
    def num_kills(self) -> int:
        return sum(self.kills.values())


def processes(space: Workspace) -> dict[int, str]:
    """Those that have the workspace in their environment, or are in such a one's session: number → its kind."""
    entry = f"{ENVIRONMENT_VARIABLE}={space.root}".encode()
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal() and int(name) != os.getpid()]
    members = {pid for pid in pids if entry in _content(pid, "environ").split(b"\0")}
    sessions = {session for pid in members if (session := _session(pid)) != os.getsid(0)}
    members |= {pid for pid in pids if _session(pid) in sessions}
    return {
        pid: _kind(pid) for pid in members if _content(pid, "stat").rpartition(b")")[2].split()[:1] not in ([], [b"Z"])
    }


def _content(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _kind(pid: int) -> str:
    name, command = _content(pid, "comm").decode().strip(), _content(pid, "cmdline").replace(b"\0", b" ").decode()
    if name in ("raylet", "gcs_server"):
        return name
    if command.startswith("ray::"):
        return "other" if "Agent" in command or "IDLE" in command else "worker"
    if "execution/watch.py" in command:
        return "watcher"
    if "ray_host" in command:
        return "ray_host"
    return "driver" if " -m genpipe " in command else "other"


def stage_of(space: Workspace) -> str:
    """What the newest run is at."""
    for run in all_runs(space):
        return next((name for name, step in run.steps.items() if step.status == "RUNNING"), "start")
    return "start"


class Round:
    """The recipe in a workspace of its own, killed and started again until it finishes."""

    def __init__(self, space: Workspace, recipe: list[str], tally: Tally, chance: random.Random, most: int) -> None:
        self._space, self._recipe, self._tally, self._chance = space, recipe, tally, chance
        self._left, self._most = Counter(STAGES), most

    def run(self, end: float) -> None:
        """Kills no more once `most` are done or the time is over, and lets the recipe finish."""
        again = False
        for _ in range(MAX_COMMANDS):
            resume = again and self._chance.random() < 0.5 and any(True for _ in all_runs(self._space))
            command = ["resume", "last"] if resume else ["run", *self._recipe]
            driver = start(self._space, command)
            hit = self._harass(driver, end)
            errors = driver.communicate()[1]
            if driver.returncode == 0:
                break
            if hit == "driver":
                self._tally.recoveries["started again after the driver was killed"] += 1
            else:
                self._tally.recoveries["started again after a clear error"] += 1
                if "error: " not in errors or "Traceback" in errors:
                    self._violation(f"ended with {driver.returncode} and said {errors[-2000:]!r}")
            self._look_for_orphans()
            again = True
        else:
            self._violation("did not finish")
        for run in all_runs(self._space):
            said = [log.read_text(errors="replace") for log in (run.folder / "steps").glob("*.log")]
            self._tally.recoveries["step started again in the same run"] += sum("; started again" in t for t in said)
        self._look_for_orphans()
        close_dead_runs(self._space)
        for run in all_runs(self._space):
            if run.status == "RUNNING":
                self._violation(f"run {run.id} is left RUNNING")

    def _harass(self, driver: subprocess.Popen[str], end: float) -> str | None:
        """Kills while the command runs; what was hit last."""
        last, began = None, time.monotonic()
        while driver.poll() is None:
            pause = self._chance.choice((0.3, 1.0, 4.0)) * self._chance.random()
            try:
                driver.wait(0.1 + pause)
            except subprocess.TimeoutExpired:
                if time.monotonic() - began > COMMAND_SECONDS:
                    self._violation("hangs")
                    driver.kill()
                elif time.monotonic() < end and self._tally.num_kills < self._most:
                    last = self._kill_one(driver) or last
        return last

    def _kill_one(self, driver: subprocess.Popen[str]) -> str | None:
        stage = stage_of(self._space)
        if self._left[stage] <= 0:
            return None
        found: dict[str, list[int]] = {}
        for pid, kind in processes(self._space).items():
            found.setdefault(kind, []).append(pid)
        kinds = [kind for kind in VICTIMS if kind in found]
        if not kinds:
            return None
        (kind,) = self._chance.choices(kinds, [VICTIMS[kind] for kind in kinds])
        pid = driver.pid if kind == "driver" else self._chance.choice(found[kind])
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return None
        self._left[stage] -= 1
        self._tally.kills[kind, stage] += 1
        self._verify_all()
        return kind

    def _verify_all(self) -> None:
        for folder in artifacts_of(self._space):
            try:
                verify(folder)
            except ArtifactError as error:
                self._violation(f"an artifact looks whole and is not: {error}")

    def _look_for_orphans(self) -> None:
        until = time.monotonic() + ORPHAN_SECONDS
        while left := processes(self._space):
            if time.monotonic() > until:
                told = {pid: _content(pid, "cmdline").replace(b"\0", b" ").decode()[:80] for pid in left}
                self._violation(f"processes are left: {told}")
                for pid in left:
                    os.kill(pid, signal.SIGKILL)
                return
            time.sleep(0.1)

    def _violation(self, text: str) -> None:
        print(f"VIOLATION in {self._space.root}: {text}", flush=True)
        self._tally.violations.append(text)


def start(space: Workspace, command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "genpipe", *command, "--tracking", "off"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, ENVIRONMENT_VARIABLE: str(space.root)},
    )


def artifacts_of(space: Workspace) -> Iterator[Path]:
    for folder in space.artifacts.glob("*/*"):
        if not folder.name.startswith(STAGING_PREFIX):
            yield folder


def contents(space: Workspace) -> dict[str, str]:
    """Kind, key and name of each compared file → its checksum."""
    found = {}
    for folder in artifacts_of(space):
        if folder.parent.name in COMPARED:
            for name, entry in read_manifest(folder).files.items():
                found[f"{folder.parent.name}/{folder.name}/{name}"] = entry["sha256"]
    return found


def compare(undisturbed: dict[str, str], disturbed: dict[str, str]) -> list[str]:
    names = sorted(undisturbed.keys() | disturbed.keys())
    return [f"{name} differs" for name in names if undisturbed.get(name) != disturbed.get(name)]


def print_table(tally: Tally) -> None:
    print(f"{'kills':<12}" + "".join(f"{stage:>10}" for stage in STAGES) + f"{'all':>8}")
    for victim in VICTIMS:
        row = [tally.kills[victim, stage] for stage in STAGES]
        print(f"{victim:<12}" + "".join(f"{count:>10}" for count in row) + f"{sum(row):>8}")
    print(
        f"{'all':<12}"
        + "".join(f"{sum(tally.kills[v, s] for v in VICTIMS):>10}" for s in STAGES)
        + f"{tally.num_kills:>8}"
    )
    for what, count in tally.recoveries.items():
        print(f"{what}: {count}")
    print(f"rounds: {tally.rounds}, violations: {len(tally.violations)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="of training, sampling and evaluation")
    parser.add_argument("--minutes", type=float, default=60.0, help="kill no more after this long")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    recipe = list(RECIPE)
    if arguments.workers > 1:
        for stage in ("train", "sample", "evaluate"):
            recipe += [f"{stage}.workers={arguments.workers}", f"resources.{stage}.cpus=1"]
    tally, chance, began = Tally(), random.Random(arguments.seed), time.monotonic()
    end = began + 60 * arguments.minutes
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        space = Workspace(Path(folder) / "undisturbed")
        alone = start(space, ["run", *recipe])
        said = alone.communicate()[1]
        if alone.returncode:
            sys.exit(f"the undisturbed run failed:\n{said}")
        undisturbed, seconds = contents(space), time.monotonic() - began
        print(f"undisturbed: {seconds:.0f} s, {len(undisturbed)} files to compare", flush=True)
        while tally.num_kills < arguments.kills and time.monotonic() < end:
            space = Workspace(Path(folder) / f"round-{tally.rounds}")
            Round(space, recipe, tally, chance, arguments.kills).run(end)
            for difference in compare(undisturbed, contents(space)):
                tally.violations.append(difference)
                print(f"VIOLATION in {space.root}: {difference}", flush=True)
            tally.rounds += 1
            print(f"round {tally.rounds}: {tally.num_kills} kills, {time.monotonic() - began:.0f} s", flush=True)
    print_table(tally)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(record(tally, arguments, time.monotonic() - began), indent=1) + "\n")
    sys.exit(bool(tally.violations))


def record(tally: Tally, arguments: argparse.Namespace, seconds: float) -> dict[str, Any]:
    from importlib.metadata import version

    kills = {victim: {stage: tally.kills[victim, stage] for stage in STAGES} for victim in VICTIMS}
    return {
        "command": f"python -m benchmarks.chaos --kills {arguments.kills} --seed {arguments.seed} "
        f"--workers {arguments.workers} --minutes {arguments.minutes:g}",
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, load {os.getloadavg()[2]:.1f}",
        "versions": {name: version(name) for name in ("ray", "torch")},
        "seconds": round(seconds),
        "rounds": tally.rounds,
        "num_kills": tally.num_kills,
        "kills": kills,
        "recoveries": dict(tally.recoveries),
        "violations": tally.violations,
    }


if __name__ == "__main__":
    main()
