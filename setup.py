"""Builds the compiled core with CMake against the torch that this interpreter already has.

GENPIPE_TORCH_DIR   the torch package to build against, where it cannot be found by itself
GENPIPE_CUDA        OFF, ON, CHECK (compile the CUDA sources alone, and make no core) or EMULATE (run them on the CPU,
                    for tests); ON where torch has CUDA
GENPIPE_CUDA_ARCHS  CMake's list of architectures; 80-real;90-real;90-virtual
GENPIPE_SANITIZE    GCC's sanitizers, address,undefined: a build for tests/ops/test_sanitizers.py
MAX_JOBS            how many compilers run at once
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
PACKAGE_DIRS = {"genpipe": "genpipe", "genpipe.pipelines": "pipelines", "genpipe.plugins": "plugins"}
DEFAULT_CUDA_ARCHS = "80-real;90-real;90-virtual"
TARGETS = {"OFF": "_C", "ON": "_C", "CHECK": "cuda_check", "EMULATE": "_C_emulated"}  # of CMakeLists.txt


def find_torch() -> Path:
    """The torch package's folder, found without importing it (pip's build isolation hides site-packages)."""
    if given := os.environ.get("GENPIPE_TORCH_DIR"):
        candidates = [Path(given)]
    else:
        spec = importlib.util.find_spec("torch")
        candidates = [Path(spec.origin).parent] if spec and spec.origin else []
        candidates.append(Path(sysconfig.get_path("purelib")) / "torch")
    for candidate in candidates:
        if (candidate / "version.py").is_file() and (candidate / "include" / "torch").is_dir():
            return candidate
    sys.exit(
        "genpipe: no torch in this Python; install it first (pip install 'torch>=2.11'), "
        "or point GENPIPE_TORCH_DIR at a torch package. Looked in: " + ", ".join(map(str, candidates))
    )


def torch_version(torch: Path) -> tuple[str, str | None]:
    """torch's version and the CUDA version that it was built with (None for a CPU build), read as text."""
    text = (torch / "version.py").read_text()
    version = re.search(r"^__version__\s*=\s*['\"]([^'\"]+)", text, re.M)
    cuda = re.search(r"^cuda\b[^=]*=\s*['\"]([^'\"]+)", text, re.M)
    if version is None:
        sys.exit(f"genpipe: cannot read torch's version from {torch / 'version.py'}")
    major, minor = (int(part) for part in version[1].split(".")[:2])
    if (major, minor) < (2, 11):
        sys.exit(f"genpipe: needs torch 2.11 or newer; {torch} is {version[1]}")
    return version[1], cuda[1] if cuda else None


def find_nvcc() -> Path | None:
    for home in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH")):
        if home and (Path(home) / "bin" / "nvcc").is_file():
            return Path(home) / "bin" / "nvcc"
    found = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    return Path(found) if found else None


def cuda_mode(torch_cuda: str | None) -> tuple[str, Path | None]:
    """OFF, ON, CHECK or EMULATE, and nvcc; an explicit wish that cannot be met stops the build."""
    asked = os.environ.get("GENPIPE_CUDA", "").upper()
    if asked not in ("", "OFF", "ON", "CHECK", "EMULATE"):
        sys.exit(f"genpipe: GENPIPE_CUDA={asked!r}; expected OFF, ON, CHECK or EMULATE")
    mode = asked or ("ON" if torch_cuda else "OFF")
    if mode in ("OFF", "EMULATE"):
        return mode, None
    nvcc = find_nvcc()
    if nvcc is None:
        sys.exit(
            f"genpipe: GENPIPE_CUDA={mode} needs nvcc, and none is on PATH or under CUDA_HOME; "
            "install the CUDA toolkit, or build with GENPIPE_CUDA=OFF"
        )
    if mode == "ON":
        if torch_cuda is None:
            sys.exit("genpipe: GENPIPE_CUDA=ON, but the installed torch is a CPU build; use a CUDA torch or CHECK")
        release = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
        found = re.search(r"release (\d+)\.", release)
        if found is None or found[1] != torch_cuda.split(".")[0]:
            sys.exit(
                f"genpipe: torch was built with CUDA {torch_cuda} but {nvcc} is CUDA "
                f"{found[1] if found else 'unknown'}; their major versions must agree (set CUDA_HOME)"
            )
    return mode, nvcc


def find_tool(module: str, attribute: str, name: str) -> str:
    """cmake or ninja: from its Python package where there is one, else from PATH."""
    try:
        folder = getattr(__import__(module), attribute)
        if (Path(folder) / name).is_file():
            return str(Path(folder) / name)
    except (ImportError, AttributeError):
        pass
    found = shutil.which(name) or shutil.which(name, path=sysconfig.get_path("scripts"))
    if found is None:
        sys.exit(f"genpipe: {name} not found; pip install {name}")
    return found


def source_digest() -> str:
    """sha256 over the names and contents of everything that the compiled core is made of."""
    digest = hashlib.sha256()
    files = [ROOT / "CMakeLists.txt", *sorted(p for p in (ROOT / "core_ext").rglob("*") if p.is_file())]
    for path in files:
        if "__pycache__" in path.parts:
            continue
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


class CMakeBuild(build_ext):
    """Runs CMake in a folder that stays, so that a rebuild compiles only what changed."""

    build_record: dict[str, object] | None = None

    def run(self) -> None:
        if os.environ.get("GENPIPE_CUDA", "").upper() == "CHECK" and (self.inplace or self.editable_mode):
            sys.exit(
                "genpipe: GENPIPE_CUDA=CHECK makes no core to install; `make check-cuda` compiles the CUDA sources"
            )
        super().run()
        if self.build_record is None:  # nothing was made but checks
            return
        package = ROOT / "genpipe" if self.inplace or self.editable_mode else Path(self.build_lib) / "genpipe"
        package.mkdir(parents=True, exist_ok=True)
        (package / "_build.json").write_text(json.dumps(self.build_record, indent=2, sort_keys=True) + "\n")

    def build_extension(self, ext: Extension) -> None:
        import pybind11

        torch = find_torch()
        version, torch_cuda = torch_version(torch)
        mode, nvcc = cuda_mode(torch_cuda)
        if mode == "EMULATE" and platform.machine() not in ("x86_64", "AMD64"):
            sys.exit(f"genpipe: GENPIPE_CUDA=EMULATE runs on x86-64 alone; this is {platform.machine()}")
        # the emulation shares the CPU's kernels with the core without CUDA
        cuda = "OFF" if mode == "EMULATE" else mode
        tag = f"{sys.implementation.cache_tag}-torch{version}" + ("" if cuda == "OFF" else f"-cuda-{cuda.lower()}")
        sanitize = os.environ.get("GENPIPE_SANITIZE", "")
        folder = ROOT / "build" / (tag + ("-sanitize" if sanitize else ""))
        folder.mkdir(parents=True, exist_ok=True)
        cmake = find_tool("cmake", "CMAKE_BIN_DIR", "cmake")
        archs = os.environ.get("GENPIPE_CUDA_ARCHS", DEFAULT_CUDA_ARCHS) if nvcc is not None else ""
        configure = [
            cmake,
            "-S",
            str(ROOT),
            "-B",
            str(folder),
            "-G",
            "Ninja",
            "--log-level=WARNING",
            "-DCMAKE_BUILD_TYPE=Release",
            # Passed each time: the cached one may lie in an isolated environment that pip has deleted.
            f"-DCMAKE_MAKE_PROGRAM={find_tool('ninja', 'BIN_DIR', 'ninja')}",
            f"-DGENPIPE_TORCH_DIR={torch}",
            f"-DGENPIPE_TORCH_VERSION={version}",
            f"-DGENPIPE_PYTHON_INCLUDE={sysconfig.get_path('include')}",
            f"-DGENPIPE_PYBIND11_INCLUDE={pybind11.get_include()}",
            f"-DGENPIPE_SUFFIX={sysconfig.get_config_var('EXT_SUFFIX')}",
            f"-DGENPIPE_CUDA={cuda}",
            f"-DGENPIPE_CUDA_ARCHS={archs}",
            f"-DGENPIPE_SANITIZE={sanitize}",
            f"-DGENPIPE_PYTHON={sys.executable}",
        ]
        if nvcc is not None:
            configure.append(f"-DCMAKE_CUDA_COMPILER={nvcc}")
        subprocess.run(configure, check=True)
        jobs = os.environ.get("MAX_JOBS") or str(os.cpu_count())
        subprocess.run([cmake, "--build", str(folder), "--parallel", jobs, "--target", TARGETS[mode]], check=True)
        if mode == "CHECK":
            return
        made = folder / "emulated" if mode == "EMULATE" else folder
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        # Replace, never overwrite: a running Python may have the old file mapped.
        staged = target.with_name(target.name + ".new")
        shutil.copyfile(made / f"_C{sysconfig.get_config_var('EXT_SUFFIX')}", staged)
        staged.replace(target)
        self.build_record = {
            **json.loads((made / "build.json").read_text()),
            "python": platform.python_version(),
            "torch": version,
            "torch_cuda": torch_cuda,
            "source_digest": source_digest(),
        }


def packages() -> list[str]:
    found = []
    for name, folder in PACKAGE_DIRS.items():
        found += [name, *(f"{name}.{child}" for child in find_packages(str(ROOT / folder)))]
    return found


def package_data() -> dict[str, list[str]]:
    """Every file that is not code, for each package: recipes, templates, cards, markers."""
    data: dict[str, list[str]] = {}
    for name in packages():
        top = max((key for key in PACKAGE_DIRS if (name + ".").startswith(key + ".")), key=len)
        folder = ROOT / PACKAGE_DIRS[top] / Path(*name[len(top) :].strip(".").split("."))
        for path in sorted(folder.rglob("*")):
            owner = path.parent
            while owner != folder and not (owner / "__init__.py").is_file():
                owner = owner.parent
            unwanted = {".py", ".pyc", ".so", ".new"}
            if path.is_file() and owner == folder and path.suffix not in unwanted and path.name != "_build.json":
                data.setdefault(name, []).append(path.relative_to(folder).as_posix())
    return data


setup(
    packages=packages(),
    package_dir=PACKAGE_DIRS,
    package_data=package_data(),
    ext_modules=[Extension("genpipe._C", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
    zip_safe=False,
)
