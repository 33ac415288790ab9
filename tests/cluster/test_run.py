"""`genpipe run --address`: what a real cluster's head says to drivers that fit and to those that do not."""

import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.cluster.conftest import ROOT, free_port

pytestmark = pytest.mark.slow


@pytest.fixture
def run(cluster, tmp_path):
    def start(recipe, *arguments, address=None, **options):
        where = ("--address", address or cluster.address, "--workspace", tmp_path / "ws", "--tracking", "off")
        return cluster.genpipe("run", recipe, *arguments, *where, **options)

    return start


def test_runs_through_either_of_the_cluster_s_ports(cluster, run, toy):
    assert run(toy, "left.value=5").returncode == 0
    answer = run(toy, "left.value=6", address=cluster.client)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("port", ["address", "client"])
def test_another_version_of_ray_is_told_with_both(cluster, toy, tmp_path, port):
    (tmp_path / "sitecustomize.py").write_text("import ray\nray.__version__ = '2.51.0'\n")
    path = f"{tmp_path}:{cluster.environment['PYTHONPATH']}"
    address = getattr(cluster, port)
    early = {"PYTHONPATH": path, "RAY_AUTH_MODE": "token"}  # which Ray reads as it is imported
    answer = cluster.genpipe("run", toy, "--address", address, "--workspace", tmp_path / "ws", **early)
    assert answer.returncode == 1
    assert f"the Ray cluster at '{address}' runs Ray " in answer.stderr
    assert f"and here is Ray 2.51.0 and Python {sys.version.split()[0]}: they must be the same" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_wrong_token_is_told(run, toy):
    answer = run(toy, RAY_AUTH_TOKEN="no")
    assert answer.returncode == 1
    assert "does not take the token of RAY_AUTH_TOKEN" in answer.stderr


def test_what_no_node_has_is_told_of_all_steps_at_once(run, toy):
    answer = run(toy, "resources.left.cpus=3", "resources.right.custom.licence=1", "resources.sum.memory_gib=1e6")
    assert answer.returncode == 2
    assert "the cluster has no room for 3 steps:" in answer.stderr
    assert "step 'left' asks for 3 CPUs; the largest node has 2 CPUs (resources.left.cpus)" in answer.stderr
    assert "step 'right' asks for the custom resource 'licence', which no node has" in answer.stderr
    assert "step 'sum' asks for 1e+06 GiB of memory; the largest node has" in answer.stderr


def group(step: str, *, workers: int, cpus: int) -> list[tuple[str, int]]:
    return [(f"{step}.workers", workers), (f"resources.{step}.cpus", cpus)]


def test_runs_that_want_more_than_there_is_share_a_cluster_to_their_ends(run, tmp_path):
    """Three runs whose steps ask for both CPUs, and whose groups do: each waits for its turn, and none for another."""
    groups = [f"{key}={value}" for step in ("sample", "evaluate") for key, value in group(step, workers=2, cpus=1)]
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda seed: run("ring-mixture", f"seed={seed}", *groups, timeout=550), range(3)))
    assert [answer.returncode for answer in answers] == [0, 0, 0], [answer.stderr for answer in answers]


def test_a_node_with_other_code_is_named(cluster, run, toy, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(ROOT / "genpipe", other / "genpipe", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("plugins", "pipelines"):
        if not (other / "genpipe" / name).exists():
            shutil.copytree(ROOT / name, other / "genpipe" / name)
    shutil.copytree(ROOT / "tests" / "toy_plugin", other, dirs_exist_ok=True)
    parts = other / "toy_parts.py"
    parts.write_text(parts.read_text() + "\n# another line\n")
    node = cluster.start_node(f"--address={cluster.address}", "--num-cpus=1", PYTHONPATH=str(other))
    try:
        answer = run(toy, "left.value=7")
        assert answer.returncode == 1
        assert "the cluster's nodes lack what this run needs:" in answer.stderr
        assert "has other code of toy_parts than here" in answer.stderr
    finally:
        cluster.kill(node)


def test_an_address_in_use_by_nobody_is_told_in_seconds(run, toy):
    answer = run(toy, address=f"127.0.0.1:{free_port()}", timeout=60)
    assert answer.returncode == 1
    assert "cannot be reached: Connection refused" in answer.stderr
