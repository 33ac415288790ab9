#!/usr/bin/env bash
# Builds the core with CUDA on a GPU host, runs the ops' tests on the device and under the four compute-sanitizer
# tools, and the benchmarks. Needs torch with CUDA, a toolkit of the same major version, pybind11, cmake, ninja and
# pytest; no network. Results go to $OUT (or build/gpu-check).
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
OUT=${OUT:-build/gpu-check}
mkdir -p "$OUT"

echo "== the host"
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
"$PYTHON" -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda)'

echo "== build"
GENPIPE_CUDA=ON "$PYTHON" setup.py -q build_ext --inplace
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
"$PYTHON" -c 'from genpipe._build import build_info; print(build_info())' | tee "$OUT/build.txt"

echo "== tests (those that need hypothesis are skipped where it is missing)"
"$PYTHON" -m pytest -q tests/ops --device cuda 2>&1 | tee "$OUT/tests.txt"

if command -v compute-sanitizer >/dev/null 2>&1; then
  for tool in memcheck racecheck synccheck initcheck; do
    echo "== compute-sanitizer --tool $tool"
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" --error-exitcode 9 \
      "$PYTHON" benchmarks/gpu_smoke.py 2>&1 | tee "$OUT/$tool.txt" | tail -3
  done
else
  echo "== no compute-sanitizer on PATH: its checks were not run"
fi

echo "== benchmarks"
"$PYTHON" -m benchmarks.ops --device cuda --json "$OUT/ops-cuda.json" | tee "$OUT/ops-cuda.txt"
"$PYTHON" -m benchmarks.ops --no-compile --json "$OUT/ops-cpu.json" | tee "$OUT/ops-cpu.txt"
