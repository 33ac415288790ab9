"""A real head of a Ray cluster, of two CPUs and with a dashboard, for all of these tests; they are slow."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOY = ROOT / "tests" / "toy_plugin"
SECRET = "hunter2-and-more"
START = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats")
START_SECONDS = 600


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class RayCluster:
    """Processes of `ray start`, ended by their own ids: other people's Ray goes on."""

    folder: Path  # short, since sockets lie in it
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    address: str = ""
    client: str = ""
    dashboard: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """Of the nodes, and of commands that speak with them."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "GENPIPE_", "MLFLOW_"))}
        return kept | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(TOY)]),
            "RAY_TMPDIR": str(self.folder),
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            "OMP_WAIT_POLICY": "passive",
        }

    def start_node(self, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        """`ray start` with a CPU count, a log of its own and free ports; waits until it is up."""
        log = self.folder / f"node-{len(self.nodes)}.log"
        with log.open("wb") as output:
            node = subprocess.Popen(
                [*START, f"--dashboard-agent-listen-port={free_port()}", *options],
                env={**self.environment, "RAY_AUTH_MODE": "token", **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.nodes.append(node)
        wait_for(lambda: "Ray runtime started" in log.read_text() or node.poll() is not None)
        assert node.poll() is None, log.read_text()
        return node

    def start_head(self, **environment: str) -> None:
        (self.folder / "token").write_text("a" * 64)
        port = free_port()
        head = ["--head", "--port=0", "--include-dashboard=true", "--dashboard-port=0", "--num-cpus=2"]
        self.start_node(*head, f"--ray-client-server-port={port}", **environment)
        log = (self.folder / "node-0.log").read_text()
        self.address = (self.folder / "ray" / "ray_current_cluster").read_text().strip()
        self.client = f"ray://127.0.0.1:{port}"
        self.dashboard = re.findall(r"http://[0-9.]+:[0-9]+", log)[0]

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """What a node is made of, all at once, as where its power fails."""
        for process in [*descendants(node.pid), node.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        node.wait()

    def stop(self) -> None:
        for node in reversed(self.nodes):
            if node.poll() is None:
                self.kill(node)

    def genpipe(self, *arguments: object, timeout: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "genpipe", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**self.environment, **environment},
            timeout=timeout,
        )


def descendants(pid: int) -> list[int]:
    """Children first come last, so that no parent is left to start them anew."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for parent in found:
        found.extend(child for child, its in parents.items() if its == parent)
    return found[1:]


def wait_for(condition, seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[RayCluster]:
    folder = Path(tempfile.mkdtemp(prefix="g", dir="/tmp"))
    running = RayCluster(folder)
    try:
        # what the nodes have, and no one else is to see
        running.start_head(HF_TOKEN=SECRET, TOY_ERROR=f"403 for {SECRET}")
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def toy(cluster, tmp_path) -> Path:
    recipe = tmp_path / "toy.yaml"
    recipe.write_text("pipeline: toy\n")
    return recipe
