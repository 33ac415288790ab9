# make run    sets up .venv, compiles the core and runs the digits recipe
# make test   the same set-up, then the tests        make lint         ruff and mypy
# make check-cuda   compile the CUDA sources (nvcc)   make gpu-check    build and test on a GPU host
# make check-cuda-emulated   the ops' tests over the CUDA kernels, emulated on the CPU (x86-64)
# make bench  the ops' benchmarks                     make clean        remove what was built
# PYTHON=python3.12 chooses the interpreter, MAX_JOBS=2 the number of compilers.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CORE_SOURCES := $(shell find core_ext -type f -not -name '*.md' -not -name '*.pyc' 2>/dev/null)
RECIPE ?= digits-vae
# A file's tests stay together: they share what is slow to make. What the processes that they start import is compiled
# once, whatever the environment says of it.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(8, os.cpu_count() or 1))')
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

.PHONY: run test lint check-cuda check-cuda-emulated gpu-check bench clean setup

run: setup
	$(BIN)/genpipe run $(RECIPE)

test: setup
	$(PYTEST) $(PYTEST_ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy

setup: $(VENV)/built

# The interpreter, torch and the build's tools come first: the core is compiled against the torch that is there, and
# later builds, with the same tools, compile only what changed.
$(VENV)/torch: constraints.txt
	@test -n "$(PYTHON)" || { echo "genpipe needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "== setting up $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@echo "== installing torch (the largest download)"
	@$(PIP) install -q -c constraints.txt torch 'setuptools>=77' 'pybind11>=3' ninja cmake
	@touch $@

$(VENV)/installed: $(VENV)/torch pyproject.toml setup.py CMakeLists.txt
	@echo "== installing genpipe's dependencies and compiling its core"
	@$(PIP) install -q -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@

$(VENV)/built: $(VENV)/installed $(CORE_SOURCES)
	@echo "== compiling what changed in the core"
	@$(BIN)/python setup.py -q build_ext --inplace
	@touch $@

check-cuda: setup
	GENPIPE_CUDA=CHECK $(BIN)/python setup.py -q build_ext --build-lib build/cuda-check
	@echo "== the CUDA sources compile"

check-cuda-emulated: setup
	GENPIPE_CUDA=EMULATE $(BIN)/python setup.py -q build_ext --build-lib build/emulated
	GENPIPE_CORE_DIR=build/emulated/genpipe GENPIPE_CPU=cuda-emulation $(PYTEST) tests/ops

# For a host with a GPU, torch and a toolkit: uses its own python and needs no network.
gpu-check:
	bash benchmarks/gpu_check.sh

bench: setup
	$(BIN)/python -m benchmarks.ops

clean:
	rm -rf $(VENV) build *.egg-info genpipe/_C*.so genpipe/_build.json
