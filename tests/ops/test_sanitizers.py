"""The CPU kernels, and CUDA's where they are emulated, under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPILER = shutil.which(os.environ.get("CXX", "c++"))
LIBRARIES = ("libasan.so", "libubsan.so", "libstdc++.so")

# Values, shapes and strides of every op, without what starts compilers or interpreters of its own.
WITHOUT = ["autograd", "emulation", "fuzz", "sanitizers", "variants", "flows_fuzz"]
TESTS = [path for path in sorted(Path(__file__).parent.glob("test_*.py")) if path.stem[5:] not in WITHOUT]
CHOICE = "not compile and not opcheck and not thirty"


def library(name: str) -> str | None:
    """Where the compiler keeps a library; None where it has none of that name."""
    found = subprocess.run([COMPILER, f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout
    return found.strip() if os.path.isabs(found.strip()) else None


@pytest.mark.slow
@pytest.mark.parametrize("cuda", ["OFF", "EMULATE"])
def test_the_ops_read_and_write_where_they_may(cuda, tmp_path):
    if platform.system() != "Linux" or COMPILER is None:
        pytest.skip("needs Linux and a C++ compiler")
    if cuda == "EMULATE" and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("the emulation runs on x86-64")
    preload = [library(name) for name in LIBRARIES]
    if None in preload:
        pytest.skip(f"{COMPILER} has no {', '.join(LIBRARIES)}")
    build = {**os.environ, "GENPIPE_CUDA": cuda, "GENPIPE_SANITIZE": "address,undefined"}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env=build, check=True)
    environment = {
        **os.environ,
        "GENPIPE_CORE_DIR": str(tmp_path / "genpipe"),
        "LD_PRELOAD": " ".join(map(str, preload)),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's and torch's own
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    if cuda == "EMULATE":
        environment["GENPIPE_CPU"] = "cuda-emulation"
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-sqx", "-p", "no:cacheprovider", "-k", CHOICE, *TESTS],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-5000:]
