#!/usr/bin/env bash
# One go over a GPU host: builds with CUDA, runs the tests on the device, the ops' contract under the four
# compute-sanitizer tools, and the benchmarks; ends with a table of what was done and what falls short.
#
# Needs torch with CUDA, a toolkit of the same major version, pybind11, cmake, ninja and pytest, and no network. Test
# files whose other imports are missing are skipped by name. Each part has its seconds and fails by itself. PYTHON
# chooses the interpreter, PARTS the parts ("build tests sanitizers benchmarks"), SECONDS_SCALE stretches the budgets;
# logs and results go to OUT (build/gpu-check).
#
# PARTS=fashion, which no other run of it includes, trains one seed of the recipe compare-fashion on the data that
# GENPIPE_DATA names and holds it against benchmarks/fashion_goals.py. It needs genpipe's own packages, too. Its steps are
# meant for about half an hour; FASHION gives others, and FASHION= (empty) takes those of the recipe. A second go in the
# same OUT goes on where the first was stopped.
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
OUT=${OUT:-build/gpu-check}
PARTS=${PARTS:-build tests sanitizers benchmarks}
SCALE=${SECONDS_SCALE:-1}
mkdir -p "$OUT"
: >"$OUT/parts.txt"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

# part NAME SECONDS COMMAND…: runs it into NAME.txt, shows its end, and writes NAME, its exit code and its time down.
part() {
  local name=$1 budget=$(($2 * SCALE)) begun=$SECONDS
  shift 2
  echo "== $name (at most $budget s)"
  timeout -k 20 "$budget" "$@" >"$OUT/$name.txt" 2>&1
  local code=$?
  tail -n 3 "$OUT/$name.txt"
  echo "$name $code $((SECONDS - begun))" >>"$OUT/parts.txt"
}

wanted() { [[ " $PARTS " == *" $1 "* ]]; }

nvidia-smi --query-gpu=name,driver_version,compute_cap --format=csv,noheader
"$PYTHON" -c 'import sys, torch; print("python", sys.version.split()[0], "torch", torch.__version__, "CUDA", torch.version.cuda)'

if wanted build; then
  part build 900 env GENPIPE_CUDA=ON "$PYTHON" setup.py -q build_ext --inplace
  "$PYTHON" -c 'from genpipe._build import build_info; print(build_info())' | tee "$OUT/build-info.txt"
fi

if wanted tests; then
  part tests-ops 900 "$PYTHON" -m pytest -q tests/ops --device cuda --skip-missing
  # A folder at a time: one whose conftest.py cannot be imported does not hold the others up.
  for tests in $(find tests -mindepth 1 -maxdepth 1 -type d -not -name ops | sort) tests/test_*.py; do
    ls "$tests"/test_*.py "$tests"/*/test_*.py "$tests" 2>/dev/null | grep -q 'test_.*\.py$' || continue
    part "tests-$(basename "$tests" .py)" 400 "$PYTHON" -m pytest -q "$tests" --device cuda --skip-missing
  done
fi

if wanted sanitizers && command -v compute-sanitizer >/dev/null; then
  only=(--kernel-name kns=genpipe) # torch's own kernels are not ours to check
  compute-sanitizer "${only[@]}" true >/dev/null 2>&1 || only=()
  for tool in memcheck racecheck synccheck initcheck; do
    part "$tool" 400 env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" "${only[@]}" \
      --error-exitcode 9 "$PYTHON" -m pytest -q -x tests/ops/test_contract.py -k test_cuda_gives --device cuda
  done
elif wanted sanitizers; then
  echo "compute-sanitizer is not on PATH" | tee "$OUT/sanitizers.txt"
  echo "sanitizers 127 0" >>"$OUT/parts.txt"
fi

if wanted benchmarks; then
  part benchmarks-cuda 900 "$PYTHON" -m benchmarks.ops --device cuda --seconds 1 --json "$OUT/ops-cuda.json"
  part benchmarks-cpu 600 "$PYTHON" -m benchmarks.ops --no-compile --seconds 1 --json "$OUT/ops-cpu.json"
fi

if wanted fashion; then
  FASHION=${FASHION-models.pixelcnn.train.steps=12000 models.diffusion.train.steps=20000 models.flow.train.steps=8000 \
    models.discrete-vae.train.steps=10000 models.gan.train.steps=20000}
  read -ra overrides <<<"$(tr '\n' ' ' <<<"$FASHION")"
  workspace="$OUT/fashion"
  part fashion 2400 "$PYTHON" -m genpipe --workspace "$workspace" run compare-fashion 'seeds=[0]' "${overrides[@]}" \
    --executor inline --tracking off
  table=$(ls -t "$workspace"/artifacts/comparison/*/comparison.json 2>/dev/null | head -n 1)
  [[ -n $table ]] && cp "$table" "$OUT/compare-fashion.json"
fi

"$PYTHON" benchmarks/gpu_report.py "$OUT"
