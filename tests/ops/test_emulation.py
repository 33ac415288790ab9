"""CUDA's emulation: what its threads exchange, and that a kernel which could hang or read too far is caught."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EMULATION = ROOT / "core_ext" / "emulation"
COMPILER = shutil.which(os.environ.get("CXX", "c++"))

pytestmark = [
    pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the emulation runs on x86-64"),
    pytest.mark.skipif(COMPILER is None, reason="no C++ compiler"),
]

PROGRAM = r"""
#include <stdlib.h>
#include "cuda_runtime.h"

// Reverses the parts of x that its blocks own, and adds each warp's and each block's sum in parts of the number.
template <class T>
__global__ void __launch_bounds__(96) reverse(T* x) {
  GENPIPE_DYNAMIC_SHARED(T, values);
  __shared__ T sums[3];
  int i = threadIdx.y * blockDim.x + threadIdx.x;
  T* own = x + blockIdx.x * 96;
  values[i] = own[i];
  T sum = values[i];
  for (int width = 16; width > 0; width /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, width);
  if (i % 32 == 0) sums[i / 32] = sum;
  __syncthreads();
  own[i] = values[95 - i] + 1000 * sums[i / 32] + 1000000 * (sums[0] + sums[1] + sums[2]);
}

__global__ void lanes(int* out) {  // 40 threads: a warp and a quarter
  int i = threadIdx.x, last = i < 32 ? 31 : 39;
  int* own = out + 5 * i;
  own[0] = __shfl_up_sync(0xffffffffu, i, 1, 8);
  own[1] = __shfl_down_sync(0xffffffffu, i, 3, 8);
  own[2] = __shfl_sync(0xffffffffu, i, 13, 8);
  own[3] = i == last ? -1 : __shfl_sync(i < 32 ? 0x7fffffffu : 0x7fu, 10 * i, 2);
  __syncwarp();
  own[4] = int(__shfl_xor_sync(0xffffffffu, 0.5 * i, 1) * 2);
}

__global__ void mistaken(int kind, float* out) {
  GENPIPE_DYNAMIC_SHARED(float, shared);
  int i = threadIdx.x;
  if (kind == 0 && i >= 5) return;
  if (kind == 1 && i == 7) __syncthreads();
  if (kind == 2 && i < 32) __syncwarp(0xffffu);
  if (kind == 3 && i == 3) __trap();
  if (kind == 4) __shfl_sync(0xffu << i / 8 % 4 * 8, i, 9);
  __syncthreads();
  out[0] = shared[kind == 5 ? 64 : i];
}

int main(int, char** arguments) {
  int kind = atoi(arguments[1]);
  double numbers[4 * 96];
  float out[1];
  int found[200];
  for (int i = 0; i < 4 * 96; ++i) numbers[i] = i % 5;
  if (kind == 6) {
    GENPIPE_CUDA_LAUNCH((reverse<double>), 4, dim3(32, 3), 96 * sizeof(double), nullptr, numbers);
    for (double x : numbers) printf("%.0f ", x);
  } else if (kind == 7) {
    GENPIPE_CUDA_LAUNCH((lanes), 1, 40, 0, nullptr, found);
    for (int x : found) printf("%d ", x);
  } else {
    GENPIPE_CUDA_LAUNCH((mistaken), dim3(2, 2), kind == 8 ? 1025 : 64, 64 * sizeof(float), nullptr, kind, out);
  }
  int code = cudaGetLastError();
  if (code != 0) printf("%d: %s", code, cudaGetErrorString(cudaError_t(code)));
  return cudaGetLastError();
}
"""
REVERSE, LANES, TOO_FAR, TOO_MANY = 6, 7, 5, 8


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The program above, run with a number: what it printed."""
    folder = tmp_path_factory.mktemp("emulation")
    (folder / "kernels.cpp").write_text(PROGRAM)
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"]
    sources = [folder / "kernels.cpp", EMULATION / "fibers.cpp"]
    subprocess.run([COMPILER, *flags, f"-I{EMULATION}", *sources, "-o", folder / "kernels"], check=True)

    def run(kind: int) -> str:
        command = [folder / "kernels", str(kind)]
        environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert result.returncode == 0 or "AddressSanitizer" in result.stderr, result.stderr
        return result.stdout + result.stderr

    return run


def test_barriers_and_shared_memory_pass_values_between_threads(program):
    values = [i % 5 for i in range(4 * 96)]
    expected = []
    for start in range(0, len(values), 96):
        part = values[start : start + 96]
        sums = [sum(part[w : w + 32]) for w in range(0, 96, 32)]
        expected += [part[95 - i] + 1000 * sums[i // 32] + 1000000 * sum(sums) for i in range(96)]
    assert [int(x) for x in program(REVERSE).split()] == expected


def test_shuffles_stay_in_their_groups_and_their_masks(program):
    found = [int(x) for x in program(LANES).split()]
    for i in range(40):
        group, last = i // 8 * 8, 31 if i < 32 else 39
        up, down = max(i - 1, group) if i % 8 else i, i + 3 if i % 8 < 5 else i
        masked = -1 if i == last else 10 * (i // 32 * 32 + 2)
        assert found[5 * i : 5 * i + 5] == [up, down, group + 5, masked, i ^ 1], i


MISTAKES = {
    0: "719: (mistaken): block (0, 0, 0): the threads of a block wait for each other: from 0 on they wait at "
    "__syncthreads, kernels.cpp:{barrier}; from 5 on they left",
    1: "719: (mistaken): block (0, 0, 0): the threads of a block meet at different barriers: from 0 on they wait at "
    "__syncthreads, kernels.cpp:{barrier}; from 7 on they wait at __syncthreads, kernels.cpp:{kind}",
    2: "719: (mistaken): block (0, 0, 0), thread 16, kernels.cpp:{kind}: its mask leaves itself out",
    3: "719: (mistaken): block (0, 0, 0), thread 3, kernels.cpp:{kind}: __trap",
    4: "719: (mistaken): block (0, 0, 0), thread 0, kernels.cpp:{kind}: it shuffles from a lane that its mask leaves",
    TOO_MANY: "9: (mistaken): a launch that no GPU takes",
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_named_with_its_thread_and_line(program, kind):
    lines = PROGRAM.splitlines()
    barrier = 1 + max(i for i, line in enumerate(lines) if line.strip() == "__syncthreads();")
    own = 1 + next((i for i, line in enumerate(lines) if f"if (kind == {kind}" in line), 0)
    assert program(kind).startswith(MISTAKES[kind].format(barrier=barrier, kind=own))


def test_a_read_past_shared_memory_is_caught(program):
    assert "heap-buffer-overflow" in program(TOO_FAR)


@pytest.mark.slow
def test_the_ops_tests_hold_for_the_emulated_kernels(tmp_path):
    build = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, env={**os.environ, "GENPIPE_CUDA": "EMULATE"}, check=True)
    emulated = {"GENPIPE_CORE_DIR": str(tmp_path / "genpipe"), "GENPIPE_CPU": "cuda-emulation"}
    tests = [sys.executable, "-m", "pytest", "-q", "tests/ops"]
    result = subprocess.run(
        tests, cwd=ROOT, env={**os.environ, **emulated}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-5000:]
