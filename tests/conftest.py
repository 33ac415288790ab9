"""Options and fixtures of the whole suite."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import pytest

OURS = ("genpipe", "tests", "benchmarks")

# Before torch is imported: tests share their cores with subprocesses and Ray, and threads that spin while they wait
# make small models several times slower there.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if (workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT")) is not None:
    # pytest -n: the workers, and what they start, share the cores
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(workers))))
# Ray's workers give way to whatever else runs: beside the tests of other workers they would hardly begin.
os.environ.setdefault("RAY_worker_niceness", "0")

# Property tests draw the same examples in every run, and are given the time that they take: what a machine is busy with
# decides nothing. HYPOTHESIS_PROFILE=default looks further.
with contextlib.suppress(ImportError):
    from hypothesis import HealthCheck, settings

    settings.register_profile("genpipe", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    profile = os.environ.get("HYPOTHESIS_PROFILE", "genpipe")
    settings.load_profile(profile)
    if profile == "genpipe":
        from hypothesis.internal.conjecture import providers

        # Hypothesis draws constants of the modules that are loaded too, and so what a worker ran before would decide.
        providers._get_local_constants = lambda: providers._local_constants


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where the tests' tensors live: cpu, cuda, cuda:1")
    parser.addoption(
        "--skip-missing",
        action="store_true",
        help="skip the files that import a package which is not installed (on a bare GPU host)",
    )
    parser.addoption("--slow", action="store_true", help="also run the tests that take more than a few seconds")


class ModuleOrSkip(pytest.Module):
    """A test file that is skipped where it imports a package that is not installed."""

    def _getobj(self):
        try:
            return super()._getobj()
        except self.CollectError as error:
            missing = error.__cause__
            if isinstance(missing, ModuleNotFoundError) and (missing.name or "").split(".")[0] not in OURS:
                pytest.skip(str(missing), allow_module_level=True)
            raise


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    if not parent.config.getoption("--skip-missing"):
        return None
    return ModuleOrSkip.from_parent(parent, path=module_path)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    skip_slow = pytest.mark.skip(reason="slow: runs with --slow")
    skip_gpu = pytest.mark.skip(reason="needs a CUDA device: runs with --device cuda")
    skip_native = pytest.mark.skip(reason="needs native code: takes minutes over emulated CUDA kernels")
    emulated = os.environ.get("GENPIPE_CPU") == "cuda-emulation"
    for item in items:
        if "native" in item.keywords and emulated:
            item.add_marker(skip_native)
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(skip_slow)
        if "gpu" in item.keywords and not config.getoption("--device").startswith("cuda"):
            item.add_marker(skip_gpu)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """A test that draws from generators of the whole process draws the same, whatever this worker ran before."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(0)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(0)


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """The device that --device names."""
    name = request.config.getoption("--device")
    if name.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.exit(f"--device {name}: torch sees no CUDA device", returncode=2)
    return name


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A store that fails as it is told to, here and in subprocesses."""
    from tests.faulty_store import Faulty

    return Faulty.make(tmp_path, monkeypatch)
